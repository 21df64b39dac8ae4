//! Connections of HTTP, HTTPS and TLS listeners: the kernel gives them to the proxy, which is told about the listeners.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;

use gateway_agent_kernel::{ApplyProblem, Kernel, one_line};
use gateway_agent_proxy::link::Listener;
use gateway_agent_tables::http::HttpTables;
use gateway_agent_tables::{FrontendKey, HttpDelta, Steered};
use tracing::{info, warn};

use crate::process;
use crate::proxy_link::{Event, ListenError, ProxyFigures, ProxyLink, Source};

/// What can be accepted, and who does.
#[derive(Debug)]
pub struct Steering {
    source: Source,
    link: ProxyLink,
    figures: ProxyFigures,
    /// In this network namespace.
    is_allowed: bool,
    proxy: Proxy,
}

#[derive(Debug)]
enum Proxy {
    /// That of an earlier agent may be there.
    Unknown,
    Accepting,
    Down(String),
}

const NOT_ALLOWED: &str = "connections are steered in the machine's initial network namespace only if the agent is \
                           started with --host";

impl Steering {
    pub fn start(source: &Source, is_allowed: bool, figures: ProxyFigures) -> Result<Self, ListenError> {
        let link = ProxyLink::start(source, &figures)?;
        Ok(Self { source: source.clone(), link, figures, is_allowed, proxy: Proxy::Unknown })
    }

    /// Connections are another agent's from here on. What its proxy leaves is taken over as that of an earlier one.
    pub fn begin_again(&mut self) {
        self.proxy = Proxy::Unknown;
        match ProxyLink::start(&self.source, &self.figures) {
            Ok(link) => self.link = link,
            Err(error) => warn!("{error}"),
        }
    }

    pub async fn changed(&mut self) -> Event {
        self.link.changed().await
    }

    /// Tells proxies how to serve listeners, before they get connections for new ones.
    pub fn tell_http(&mut self, tables: &HttpTables, delta: &HttpDelta) {
        self.link.tell_http(tables, delta);
    }

    /// Steers what the tables say, and tells what of it is not accepted.
    pub fn apply(
        &mut self,
        kernel: &mut Kernel,
        wanted: &BTreeMap<FrontendKey, Steered>,
    ) -> Vec<ApplyProblem> {
        if !self.is_allowed {
            return refused(wanted, NOT_ALLOWED);
        }
        let listener = |(key, steered): (&FrontendKey, &Steered)| Listener {
            address: key.address,
            port: key.port,
            application: steered.application,
        };
        self.link.tell_listeners(wanted.iter().map(listener).collect());
        let report = kernel.steer(&wanted.keys().copied().collect());
        match &self.proxy {
            Proxy::Accepting => report.problems,
            Proxy::Down(cause) => refused(wanted, cause),
            Proxy::Unknown if has_proxy(kernel) => report.problems,
            Proxy::Unknown => refused(wanted, "the proxy is starting"),
        }
    }

    /// True if what is not accepted may be something else now.
    pub fn take(&mut self, kernel: &mut Kernel, event: Event, tables: &HttpTables) -> bool {
        let (sockets, process, steered) = match event {
            Event::Joined(proxy) => {
                self.link.welcome(proxy, tables);
                return false;
            }
            Event::Down(cause) => {
                self.proxy = Proxy::Down(cause);
                return true;
            }
            Event::Accepting { sockets, process, steered } => (sockets, process, steered),
        };
        let former = kernel.proxy_process().ok().flatten();
        let borrowed: Vec<BorrowedFd<'_>> = sockets.iter().collect();
        if let Err(error) = kernel.switch_proxy(&borrowed, process) {
            self.proxy = Proxy::Down(one_line(&error));
            return true;
        }
        // Fails if the proxy has died since; the next one gets the same sockets.
        let _ = steered.send(());
        info!(event = "proxy-accepts", "a proxy accepts connections at {} sockets", sockets.len());
        if let Some(former) = former.filter(|former| Some(*former) != process)
            && process::end(former)
        {
            info!(event = "proxy-replaced", pid = former.pid, "the former proxy finishes what it has");
        }
        !matches!(std::mem::replace(&mut self.proxy, Proxy::Accepting), Proxy::Accepting)
    }

    /// Whether a proxy of this agent's accepts what is wanted, or nothing is.
    pub fn is_settled(&self, wanted: &BTreeMap<FrontendKey, Steered>) -> bool {
        !self.is_allowed || wanted.is_empty() || matches!(self.proxy, Proxy::Accepting)
    }

    /// For people.
    pub fn state(&self) -> &str {
        match &self.proxy {
            Proxy::Unknown => "not started",
            Proxy::Accepting => "accepting",
            Proxy::Down(cause) => cause,
        }
    }
}

/// Whether an earlier agent's proxy accepts. One that was no child is taken for alive.
fn has_proxy(kernel: &Kernel) -> bool {
    match kernel.has_sockets() {
        Ok(has_sockets) => {
            let process = kernel.proxy_process().ok().flatten();
            has_sockets && process.is_none_or(process::is_alive)
        }
        Err(error) => {
            warn!("{}", one_line(&error));
            false
        }
    }
}

fn refused(wanted: &BTreeMap<FrontendKey, Steered>, cause: &str) -> Vec<ApplyProblem> {
    let problem =
        |frontend: &FrontendKey| ApplyProblem::NotSteered { frontend: *frontend, cause: cause.to_owned() };
    wanted.keys().map(problem).collect()
}

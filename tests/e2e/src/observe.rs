//! What an agent, or the maps that it left, say: over its socket, and by `stats` and `flows`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;

use anyhow::{Context as _, Result};
use lab::agent::Agent;
use serde_json::Value;

/// An agent as an operator sees it.
pub trait Observed {
    /// What `gateway-agent status` asks for.
    fn status(&self) -> Result<Value>;
    /// Number of times that tables were compiled and applied.
    fn generation(&self) -> Result<u64>;
    /// What is wrong, in the agent's words.
    fn problems(&self) -> Result<Vec<String>>;
    /// A condition of a Gateway in the namespace `shop`, or of a listener of it; None: there is none (yet).
    fn condition(&self, gateway: &str, listener: Option<&str>, kind: &str) -> Result<Option<Condition>>;
    /// By `gateway-agent stats`; needs no running agent.
    fn counters(&self) -> Result<Counters>;
    /// By `gateway-agent flows`; needs no running agent.
    fn flows(&self) -> Result<Vec<Flow>>;
}

/// What a condition says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub status: String,
    pub reason: String,
    pub message: String,
}

/// The output of `stats -o json`.
#[derive(Clone, Debug)]
pub struct Counters(Value);

/// A flow as `flows -o json` shows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    pub client: SocketAddr,
    pub endpoint: SocketAddr,
    pub state: String,
    /// Place in the table, and the ids that the place names.
    pub slot: u64,
    pub backend_id: u64,
    pub endpoint_id: u64,
}

impl Observed for Agent {
    fn status(&self) -> Result<Value> {
        let path = &self.settings.socket;
        let mut stream = UnixStream::connect(path).with_context(|| path.display().to_string())?;
        stream.write_all(b"status\n")?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }

    fn generation(&self) -> Result<u64> {
        self.status()?["generation"].as_u64().context("the status has a generation")
    }

    fn problems(&self) -> Result<Vec<String>> {
        let status = self.status()?;
        let problems = status["problems"].as_array().context("the status has problems")?;
        Ok(problems
            .iter()
            .map(|problem| problem["message"].as_str().unwrap_or_default().to_owned())
            .collect())
    }

    fn condition(&self, gateway: &str, listener: Option<&str>, kind: &str) -> Result<Option<Condition>> {
        let status = self.status()?;
        let named = |items: &Value, field: &str, name: &str| {
            items.as_array()?.iter().find(|item| item[field] == name).cloned()
        };
        let found = || {
            let ours =
                |o: &&Value| o["kind"] == "Gateway" && o["namespace"] == "shop" && o["name"] == gateway;
            let status = &status["statuses"].as_array()?.iter().find(ours)?["status"];
            let conditions = match listener {
                Some(listener) => named(&status["listeners"], "name", listener)?["conditions"].take(),
                None => status["conditions"].clone(),
            };
            let condition = named(&conditions, "type", kind)?;
            let text = |field: &str| Some(condition[field].as_str()?.to_owned());
            Some(Condition { status: text("status")?, reason: text("reason")?, message: text("message")? })
        };
        Ok(found())
    }

    fn counters(&self) -> Result<Counters> {
        pinned(self, "stats").map(Counters)
    }

    fn flows(&self) -> Result<Vec<Flow>> {
        let listed = pinned(self, "flows")?;
        let listed = listed.as_array().or_else(|| listed["flows"].as_array()).context("a list of flows")?;
        let mut flows = listed.iter().map(flow).collect::<Result<Vec<_>>>()?;
        flows.sort();
        Ok(flows)
    }
}

impl Counters {
    /// Packets that were refused or dropped for a reason.
    pub fn reason(&self, name: &str) -> u64 {
        let reasons = self.0["reasons"].as_array().into_iter().flatten();
        let packets =
            reasons.filter(|reason| reason["name"] == name).find_map(|reason| reason["packets"].as_u64());
        packets.unwrap_or_else(|| panic!("stats know no reason {name}"))
    }

    /// Packets that were handed on to other nodes.
    pub fn handed_on(&self) -> u64 {
        self.0["pool"]["handedOn"].as_u64().expect("stats count them")
    }

    /// Reasons that were met, with how often.
    pub fn reasons(&self) -> Vec<(String, u64)> {
        let reasons = self.0["reasons"].as_array().into_iter().flatten();
        let met = reasons.filter_map(|reason| Some((reason["name"].as_str()?, reason["packets"].as_u64()?)));
        met.filter(|(_, packets)| *packets > 0).map(|(name, packets)| (name.to_owned(), packets)).collect()
    }

    /// A field of all frontends of a protocol, such as `flows` or `refused`, summed.
    pub fn frontends(&self, protocol: &str, field: &str) -> u64 {
        let frontends = self.0["frontends"].as_array().into_iter().flatten();
        let frontends = frontends.filter(|frontend| frontend["protocol"] == protocol);
        frontends.map(|frontend| frontend[field].as_u64().unwrap_or_else(|| panic!("no field {field}"))).sum()
    }

    /// A field of all backends whose Service this is, summed.
    pub fn backend(&self, service: &str, field: &str) -> u64 {
        let backends = self.0["backends"].as_array().into_iter().flatten();
        let of_service = backends.filter(|backend| {
            backend["backend"].as_str().is_some_and(|name| name.starts_with(&format!("shop/{service}:")))
        });
        of_service.map(|backend| backend[field].as_u64().unwrap_or_else(|| panic!("no field {field}"))).sum()
    }

    /// Ids of frontends and backends with what they stand for.
    pub fn ids(&self) -> Vec<String> {
        let id = |kind: &str, names: &[&str]| -> Vec<String> {
            let items = self.0[kind].as_array().into_iter().flatten();
            items
                .map(|item| names.iter().map(|name| item[*name].to_string()).collect::<Vec<_>>().join(" "))
                .collect()
        };
        let mut ids = id("frontends", &["id", "address", "port", "protocol"]);
        ids.extend(id("backends", &["id", "frontend", "route", "backend"]));
        ids
    }
}

fn pinned(agent: &Agent, command: &str) -> Result<Value> {
    let pin = agent.settings.pin.display().to_string();
    Ok(serde_json::from_str(&agent.command(&[command, "--pin", &pin, "-o", "json"])?)?)
}

fn flow(value: &Value) -> Result<Flow> {
    let address = |name: &str| -> Result<SocketAddr> {
        Ok(value[name].as_str().with_context(|| format!("{name} of {value}"))?.parse()?)
    };
    let number = |name: &str| value[name].as_u64().with_context(|| format!("{name} of {value}"));
    Ok(Flow {
        client: address("client")?,
        endpoint: address("endpoint")?,
        state: value["state"].as_str().context("a state")?.to_owned(),
        slot: number("slot")?,
        backend_id: number("backendId")?,
        endpoint_id: number("endpointId")?,
    })
}

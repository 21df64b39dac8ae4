//! `gateway-agent check`

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::process::ExitCode;

use gateway_agent_api::{Gateway, Object};
use gateway_agent_routing::{Node, Outcome};
use serde_json::{Value, json};

use super::{print, print_json, print_yaml, tables};
use crate::cli::{self, Check, CheckForm};
use crate::clock::rfc3339;
use crate::compile::Compiler;
use crate::failure::Failure;
use crate::source::{self, Found, Problem, Scan};
use crate::statuses::{Statuses, conditions};

pub fn execute(arguments: &Check) -> Result<ExitCode, Failure> {
    let verdict = Verdict::of(arguments)?;
    if arguments.output == CheckForm::Text {
        print(&verdict.as_text())?;
        if arguments.tables {
            print(&format!("\n{}", tables::as_text(&verdict.outcome().tables)))?;
        }
    } else {
        let value =
            if arguments.tables { tables::as_json(&verdict.outcome().tables) } else { verdict.as_list()? };
        if arguments.output == CheckForm::Json {
            print_json(&value)?;
        } else {
            print_yaml(&value)?;
        }
        // An object's status has no place for these.
        verdict.file_problems.iter().for_each(|problem| eprintln!("{problem}"));
    }
    Ok(if verdict.problems() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a Gateway gets where no node is named whose addresses it could get: the verdict is about the objects then, not about
/// a node (RFC 5737, RFC 3849).
const ASSUMED: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];

/// The addresses that Gateways name.
fn wanted_addresses(compiler: &Compiler) -> Vec<IpAddr> {
    let gateways = compiler.snapshot().all::<Gateway>();
    let wanted = gateways.flat_map(|gateway| gateway.spec.addresses.iter().flatten());
    wanted.filter_map(|address| address.value.as_ref()?.parse().ok()).collect()
}

/// What the files hold, and standard input where `-` stands for one.
fn found(paths: &[PathBuf]) -> Result<Found, Failure> {
    let (piped, files): (Vec<_>, Vec<_>) =
        paths.iter().cloned().partition(|path| path.as_os_str() == STANDARD_INPUT);
    let mut found = Scan::default().look(&files, &BTreeSet::new());
    if !piped.is_empty() {
        let path = PathBuf::from(STANDARD_INPUT);
        let mut bytes = Vec::new();
        io::stdin().lock().take(MAX_PIPED_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_PIPED_BYTES {
            let most = MAX_PIPED_BYTES >> 20;
            return Err(
                format!("standard input has more than {most} MiB; name fewer kinds or namespaces").into()
            );
        }
        found.files.insert(path.clone());
        found.read.insert(path.clone(), source::parse(&path, &bytes));
    }
    Ok(found)
}

const STANDARD_INPUT: &str = "-";

/// `kubectl get -A -o yaml` of a large cluster: 5,000 routes with status and managed fields are 25 MiB. An agent that runs
/// takes less from a file, since it must not grow.
const MAX_PIPED_BYTES: u64 = 128 << 20;

/// What follows from the objects in files.
pub(super) fn compiled(paths: &[PathBuf], node: &cli::Node) -> Result<Compiler, Failure> {
    let name = match &node.node_name {
        Some(name) => name.clone(),
        None => crate::node::host_name()?,
    };
    let given = node.node_addresses.clone();
    let addresses = if given.is_empty() { ASSUMED.to_vec() } else { given.clone() };
    let mut compiler = Compiler::new(Node {
        name,
        addresses: addresses.clone(),
        gateway_addresses: addresses,
        ..Node::default()
    });
    compiler.update(found(paths)?);
    if given.is_empty() {
        compiler.compile();
        let of_pools = &compiler.outcome().tables.l4.pool;
        let wanted = wanted_addresses(&compiler).into_iter().filter(|ip| !of_pools.contains(ip));
        let wanted = wanted.collect();
        compiler.set_node_addresses(wanted);
    }
    compiler.compile();
    Ok(compiler)
}

struct Verdict {
    compiler: Compiler,
    /// Of files, and of objects as they are written there.
    file_problems: Vec<Problem>,
    statuses: Statuses,
}

impl Verdict {
    fn of(arguments: &Check) -> Result<Self, Failure> {
        let compiler = compiled(&arguments.sources.paths, &arguments.node)?;
        let mut statuses = Statuses::default();
        let all = compiler.outcome().statuses.iter();
        let all = all.map(|(object, status)| (object.clone(), Some(status.clone())));
        statuses.update(all, &rfc3339(jiff::Timestamp::now()));
        Ok(Self { file_problems: compiler.problems(), compiler, statuses })
    }

    /// What follows from the objects together.
    fn outcome(&self) -> &Outcome {
        self.compiler.outcome()
    }

    fn problems(&self) -> usize {
        self.file_problems.len() + self.outcome().problems.len()
    }

    /// First what is wrong with files, then each object with its conditions and problems.
    fn as_text(&self) -> String {
        let mut text = String::new();
        for problem in &self.file_problems {
            // Writing to a String can't fail; nor below.
            let _ = writeln!(text, "{problem}");
        }
        if !text.is_empty() {
            text.push('\n');
        }
        let written: BTreeSet<_> = self.file_problems.iter().filter_map(|p| p.object.as_deref()).collect();
        let mut following: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for problem in &self.outcome().problems {
            following.entry(&problem.object).or_default().push(problem);
        }
        for counted in self.compiler.store().objects() {
            let name = counted.object.object_ref();
            let problems = following.remove(&name).unwrap_or_default();
            let is_ok = problems.is_empty() && !written.contains(name.to_string().as_str());
            let verdict = if is_ok { "ok" } else { "has problems" };
            let _ = writeln!(text, "{name} ({}): {verdict}", counted.place);
            for condition in self.statuses.of(&name).into_iter().flat_map(conditions) {
                let _ = writeln!(text, "    {condition}");
            }
            for problem in problems {
                let _ = writeln!(text, "  ! {}", self.compiler.describe(problem));
            }
        }
        let _ = writeln!(
            text,
            "\n{}, {}",
            count(self.compiler.store().objects().count(), "object"),
            count(self.problems(), "problem")
        );
        text
    }

    fn as_list(&self) -> Result<Value, serde_json::Error> {
        let items: Result<Vec<_>, _> =
            self.compiler.store().objects().map(|counted| self.with_status(&counted.object)).collect();
        Ok(json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items?}))
    }

    fn with_status(&self, object: &Object) -> Result<Value, serde_json::Error> {
        let mut json = object.to_json()?;
        if let Some(status) = self.statuses.of(&object.object_ref()) {
            json["status"] = status.clone();
        }
        Ok(json)
    }
}

fn count(number: usize, what: &str) -> String {
    match number {
        0 => format!("no {what}s"),
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

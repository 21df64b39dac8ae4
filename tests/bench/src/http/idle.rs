//! What connections cost in memory that wait for another request.

use std::net::TcpStream;

use anyhow::{Context as _, Result};

use super::case::Case;
use super::open::{connect, exchange};
use super::subject::{Kind, Means, Routes, Subject, host, prefix, request};
use crate::report::{Metric, Report};

const BYTES: Metric = Metric { name: "bytes_per_conn", unit: "B" };

/// Between these two: what the first ones made the process take, for all to share, doesn't count. More than these, ours
/// refuses to one Gateway where 20,000 descriptors are all that there are.
const FEW: u32 = 500;
const MANY: u32 = 4000;

/// A fresh process each time: memory that connections have left is used again.
pub(crate) fn round(kind: Kind, means: &Means<'_>, report: &mut Report) -> Result<()> {
    let subject = Subject::start(kind, Routes::Few, means)?;
    let mut connections = Vec::new();
    let few = resident(&subject, &mut connections, FEW)?;
    let many = resident(&subject, &mut connections, MANY)?;
    report.add(Case::Idle.name(), kind.name(), BYTES, (many - few) / f64::from(MANY - FEW));
    Ok(())
}

/// Bytes of the proxy once so many connections have had an answer each.
fn resident(subject: &Subject, connections: &mut Vec<TcpStream>, number: u32) -> Result<f64> {
    let request = request(&host(3), &prefix(3));
    subject.lane.client.inside(|| {
        while connections.len() < number as usize {
            let asked = connect(subject).and_then(|mut connection| {
                exchange(&mut connection, &request)?;
                Ok(connection)
            });
            let connection = asked.with_context(|| format!("connection {}", connections.len() + 1))?;
            connections.push(connection);
        }
        Ok(())
    })?;
    Ok(subject.usage()?.context("there is a proxy")?.rss_bytes)
}

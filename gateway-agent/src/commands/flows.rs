//! `gateway-agent flows`

use clap::ValueEnum;
use gateway_agent_kernel::{Flow, Pins};
use gateway_agent_tables::Protocol;
use gateway_common::flow::State;
use serde_json::{Value, json};

use super::table::Table;
use super::{print, print_json};
use crate::cli::{FlowProtocol, FlowState, Flows, Form};
use crate::failure::Failure;

pub fn execute(arguments: &Flows) -> Result<(), Failure> {
    let mut flows = Pins::open(&arguments.pin.path)?.flows();
    flows.retain(|flow| is_wanted(flow, arguments));
    flows.sort_by_key(|flow| (flow.protocol, flow.frontend, flow.client));
    match arguments.output {
        Form::Json => print_json(&flows.iter().map(as_json).collect::<Vec<_>>()),
        Form::Text => print(&as_table(&flows).render()),
    }
}

fn is_wanted(flow: &Flow, arguments: &Flows) -> bool {
    let protocol = match arguments.protocol {
        None => true,
        Some(FlowProtocol::Tcp) => flow.protocol == Protocol::Tcp,
        Some(FlowProtocol::Udp) => flow.protocol == Protocol::Udp,
    };
    protocol
        && arguments.client.is_none_or(|peer| peer.matches(flow.client))
        && arguments.frontend.is_none_or(|peer| peer.matches(flow.frontend))
        && arguments.endpoint.is_none_or(|peer| peer.matches(flow.endpoint))
        && arguments.state.is_none_or(|state| Some(state) == state_of(flow))
}

fn as_table(flows: &[Flow]) -> Table {
    let mut table = Table::new(&["protocol", "client", "frontend", "endpoint", "source", "state", "expires"]);
    for flow in flows {
        let kept = flow.source == flow.client;
        table.row(vec![
            flow.protocol.to_string(),
            flow.client.to_string(),
            flow.frontend.to_string(),
            flow.endpoint.to_string(),
            if kept { "(client)".to_owned() } else { flow.source.to_string() },
            state_name(flow),
            format!("{:.1}s", flow.expires_in.as_secs_f64()),
        ]);
    }
    table
}

fn as_json(flow: &Flow) -> Value {
    json!({
        "protocol": flow.protocol.to_string(),
        "client": flow.client,
        "frontend": flow.frontend,
        "endpoint": flow.endpoint,
        "source": flow.source,
        "state": state_name(flow),
        "expiresInSeconds": flow.expires_in.as_secs_f64(),
        "slot": flow.slot,
        "backendId": flow.backend_id,
        "endpointId": flow.endpoint_id,
    })
}

/// None: being made or already over.
fn state_of(flow: &Flow) -> Option<FlowState> {
    match flow.state {
        State::Empty | State::Busy => None,
        State::Opening => Some(FlowState::Opening),
        State::Established => Some(FlowState::Established),
        State::HalfClosedByClient => Some(FlowState::HalfClosedByClient),
        State::HalfClosedByEndpoint => Some(FlowState::HalfClosedByEndpoint),
        State::Closed => Some(FlowState::Closed),
        State::ClosedByEndpoint => Some(FlowState::ClosedByEndpoint),
    }
}

/// As `--state` takes it.
fn state_name(flow: &Flow) -> String {
    let value = state_of(flow).and_then(|state| state.to_possible_value());
    value.map_or_else(|| "-".to_owned(), |value| value.get_name().to_owned())
}

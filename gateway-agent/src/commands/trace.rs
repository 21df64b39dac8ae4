//! `gateway-agent trace`

use super::{check, print, print_json};
use crate::admin;
use crate::cli::{Form, Trace as Arguments};
use crate::failure::Failure;
use crate::trace::{Question, Trace};

pub fn execute(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { paths, node, socket, method, url, headers, address, output } = arguments;
    let question = Question { method, url, headers, address };
    let trace = if paths.is_empty() {
        let request = format!("{} {}", admin::TRACE, serde_json::to_string(&question)?);
        serde_json::from_value(admin::ask(&socket.path, &request)?)?
    } else {
        let compiler = check::compiled(&paths, &node)?;
        Trace::of(&compiler.outcome().tables.http, &question)?
    };
    match output {
        Form::Text => print(&trace.to_string()),
        Form::Json => print_json(&trace),
    }
}

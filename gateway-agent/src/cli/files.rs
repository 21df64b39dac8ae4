//! What looks at files, or asks what they would do.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::common::{Form, Node, Socket, Sources};

#[derive(Args, Debug)]
pub struct Check {
    #[command(flatten)]
    pub sources: Sources,

    #[command(flatten)]
    pub node: Node,

    /// text: a verdict per object; json, yaml: a v1 List of the objects with the status that would be written
    #[arg(short, long, value_name = "FORM", default_value = "text")]
    pub output: CheckForm,

    /// Print the compiled tables too (as text, after the verdicts; with json or yaml, instead of the objects)
    #[arg(long)]
    pub tables: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckForm {
    Text,
    Json,
    Yaml,
}

#[derive(Args, Debug)]
pub struct Trace {
    /// File or directory with objects, as for `check`; may be repeated [default: ask the agent on --socket]
    #[arg(short = 'f', long = "files", value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    #[command(flatten)]
    pub node: Node,

    #[command(flatten)]
    pub socket: Socket,

    #[arg(long, value_name = "METHOD", default_value = "GET")]
    pub method: String,

    /// What is asked for, as `http://HOST[:PORT]/PATH[?QUERY]`
    #[arg(long, value_name = "URL")]
    pub url: String,

    /// A header; may be repeated. Host takes the place of the URL's; content-type application/grpc means HTTP/2
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = parse_header)]
    pub headers: Vec<(String, String)>,

    /// The address that the client connects to [default: all that the gateway has]
    #[arg(long, value_name = "ADDRESS")]
    pub address: Option<IpAddr>,

    #[arg(short, long, value_name = "FORM", default_value = "text")]
    pub output: Form,
}

fn parse_header(text: &str) -> Result<(String, String), String> {
    let parts =
        text.split_once(':').ok_or_else(|| format!("`{text}` is not NAME: VALUE, such as x-env: test"))?;
    Ok((parts.0.to_owned(), parts.1.trim().to_owned()))
}

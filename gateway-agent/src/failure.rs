//! Why a command ends with exit code 1: its last line on standard error.

use std::error::Error;

/// Nothing but a person acts on it, so any error will do.
pub type Failure = Box<dyn Error>;

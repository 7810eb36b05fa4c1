//! Messages that move from one host to another, exactly once.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transfer {
    /// The inventory name of the host that the messages leave.
    pub from: String,
}

impl Transfer {
    /// How the transfer is shown.
    pub fn lines(&self) -> Vec<super::Line> {
        todo!("H7")
    }
}

//! How often apt tries to fetch what it could not.

use serde::Deserialize;

use crate::modules::{Argument, Kind};

pub const RETRIES: Argument = Argument::new(
    "update_cache_retries",
    Kind::Int,
    "How often a list that cannot be fetched is tried again. The default is 5.",
);

pub const MAX_DELAY: Argument = Argument::new(
    "update_cache_retry_max_delay",
    Kind::Int,
    "Seconds between two tries at most (apt 2.3.2 and newer). The default is 12.",
);

/// How often what cannot be fetched is tried again.
#[derive(Default, Deserialize)]
pub struct Retries {
    update_cache_retries: Option<u32>,
    update_cache_retry_max_delay: Option<u32>,
}

impl Retries {
    /// Returns the options of apt that say so (apt.conf(5)).
    pub fn options(&self) -> [String; 2] {
        let retries = format!("Acquire::Retries={}", self.update_cache_retries.unwrap_or(5));
        let delay = self.update_cache_retry_max_delay.unwrap_or(12);
        [retries, format!("Acquire::Retries::Delay::Maximum={delay}")]
    }
}

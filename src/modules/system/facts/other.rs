//! Facts of other programs: `facter` and `ohai`, where a host has them and a task asks for them by name.

use serde_json::{Map, Value};

use super::{Asks, Collector, Seen};

pub const FACTER: Collector = Collector {
    name: "facter",
    ids: &[],
    needs: &[],
    asks: Asks {
        commands: &["mark facter; PATH=$PATH:/opt/puppetlabs/bin
for tool in cfacter facter; do command -v $tool >/dev/null || continue
  $tool --puppet --json </dev/null || $tool --json </dev/null; break; done\n"],
        ..Asks::NOTHING
    },
    read: |seen, facts| of(seen, "facter", facts),
};

pub const OHAI: Collector = Collector {
    name: "ohai",
    ids: &[],
    needs: &[],
    asks: Asks { commands: &["mark ohai; ohai </dev/null\n"], ..Asks::NOTHING },
    read: |seen, facts| of(seen, "ohai", facts),
};

/// Adds what a program printed, under its own name.
fn of(seen: &Seen<'_>, program: &str, facts: &mut Map<String, Value>) {
    let printed: Map<String, Value> = serde_json::from_str(seen.section(program)).unwrap_or_default();
    facts.extend(printed.into_iter().map(|(name, value)| (format!("{program}_{name}"), value)));
}

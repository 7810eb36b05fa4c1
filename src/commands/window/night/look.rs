//! The first thing of a night: how domains really stand. What somebody has taken back on purpose is held, and not put right.

use super::super::undone;
use super::{Going, Stop, now};
use crate::commands::state;
use crate::run::record::Record;
use crate::window::standing::{Verdict, judge};
use crate::window::{Batch, Domain, LOOK, State};

impl Going<'_> {
    /// Asks the hosts about all domains that are under way, and notes what differs from where the window has them. A domain
    /// of which nothing is found out is left alone.
    pub(super) async fn look(&mut self) -> Result<Option<u8>, Stop> {
        let names = self.names.clone();
        let meant = |domain: &Domain| !domain.held && domain.state != State::Retired && names.contains(&domain.name);
        let pairs = self.window.pairs(meant);
        for batch in pairs.iter().flat_map(|batch| self.parts(batch)).collect::<Vec<_>>() {
            if let Some(code) = self.work(&batch, LOOK, None).await? {
                return Ok(Some(code));
            }
            self.judge(&batch)?;
            self.store.save(&self.window)?;
        }
        Ok(None)
    }

    fn judge(&mut self, batch: &Batch) -> Result<(), Stop> {
        let (records, _) = Record::all(&state::runs());
        for name in &batch.domains {
            let one = Batch { domains: vec![name.clone()], ..batch.clone() };
            let Some(domain) = self.window.of(&one).next() else { continue };
            let key = (domain.pair.old.clone(), name.clone());
            let Some(found) = domain.known.standing.take() else {
                if !self.failed.contains(&key) {
                    self.stop(&one, "the stage `state` has told nothing of it")?;
                }
                continue;
            };
            domain.known.led_back = if domain.state >= State::Switched { found.led_back.clone() } else { Vec::new() };
            let led_back = domain.known.led_back.clone();
            match judge(domain, &found, &undone::of(&records, &batch.pair.old, name)) {
                Verdict::Known => {}
                Verdict::Retired => {
                    domain.reach(State::Retired, now());
                    self.say(&format!("{name}: somebody has retired it"))?;
                }
                Verdict::Back { to, why } => {
                    let was = domain.state;
                    domain.take_back(to, why.clone(), now());
                    self.worked = true;
                    self.say(&format!(
                        "held: {name}: {why}; it was {}, and is {}: `cutover window hold {name} --release` lets it go on",
                        was.name(),
                        to.name()
                    ))?;
                }
                Verdict::Stop(why) => self.stop(&one, &why)?,
            }
            led_back.iter().try_for_each(|led| self.say(&format!("drift: {name}: `{led}` leads to the old host")))?;
        }
        Ok(())
    }

    fn stop(&mut self, one: &Batch, why: &str) -> Result<(), Stop> {
        self.fail(one, (why, 2));
        self.say(&format!("failed: {}: {why}", one.domains.join(", ")))
    }
}

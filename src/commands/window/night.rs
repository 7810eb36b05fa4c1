//! One run of the window: upkeep first, then what is due, batch after batch, until the night is over.

use std::collections::{BTreeSet, VecDeque};
use std::io::Write as _;

use futures::FutureExt as _;
use serde_json::Value;

use super::super::passwords::Given;
use super::super::play;
use super::super::signals::Signals;
use super::{Night, named, now, pairs};
use crate::cli::Stop;
use crate::error::{Diagnostic, Diagnostics};
use crate::report::{RUN, Recap};
use crate::window::{Batch, Domain, LOOK, State, Store, WATCH, Window, gates, table};

mod look;

/// A run under way.
struct Going<'a> {
    night: &'a Night,
    signals: Signals,
    passwords: Given,
    store: Store,
    window: Window,
    names: Vec<String>,
    /// The end of the night, in seconds since 1970.
    until: Option<i64>,
    /// Steps of domains that may still be begun.
    budget: usize,
    /// Runs that have changed something, or were due.
    worked: bool,
    /// Domains that this night does not bring further, each with its old host.
    failed: BTreeSet<(String, String)>,
    /// The exit code of what has failed: 2, or 4 where all of it was hosts that did not answer.
    worst: u8,
}

/// How the run of a batch's stages ended.
enum Ended {
    Well {
        changed: bool,
    },
    Failed {
        why: String,
        code: u8,
    },
    /// By a signal, with the exit code for it.
    Told(u8),
}

pub async fn run(night: &Night) -> Result<u8, Stop> {
    let until = night.until.as_deref().map(next_time).transpose()?;
    let listed = pairs::listed(&night.fleet)?;
    let passwords = night.passwords.ask()?;
    let (store, window) = match night.due {
        true => Store::open(&night.fleet.window.path()).map(|(store, window)| (Some(store), window))?,
        false => (None, Store::read(&night.fleet.window.path())?),
    };
    let (mut window, mut silent) = (window, 0);
    for pairs::Listed { pair, domains } in listed {
        let domains = match domains {
            Some(domains) => domains,
            None => match ask_for_domains(night, &pair.old, &passwords).await? {
                Ok(domains) => domains,
                // The other pairs go on, and so do the domains of this one that are known.
                Err(code) if [2, 4].contains(&code) => {
                    silent = code;
                    Vec::new()
                }
                Err(code) => return Ok(code),
            },
        };
        window.take_in(&pair, &domains, now()).map_err(Diagnostic::new)?;
    }
    let names = named(&window, &night.domains)?;
    let Some(store) = store else { return look(night, &window, &names) };
    store.save(&window)?;
    let budget = night.budget.unwrap_or(usize::MAX);
    let mut going = Going {
        night,
        // Between the runs of stages nobody else listens.
        signals: Signals::listen().map_err(Stop::Output)?,
        passwords,
        store,
        window,
        names,
        until,
        budget,
        worked: false,
        failed: BTreeSet::new(),
        worst: 0,
    };
    if let Some(code) = going.look().await? {
        return Ok(code);
    }
    if let Some(code) = going.upkeep().await? {
        return Ok(code);
    }
    if let Some(code) = going.advance().await? {
        return Ok(code);
    }
    Ok(match going.end()? {
        0 | 3 if silent > 0 => silent,
        code => code,
    })
}

/// Says what is due, and changes nothing.
fn look(night: &Night, window: &Window, names: &[String]) -> Result<u8, Stop> {
    let (rules, now) = (night.fleet.window.rules(), now());
    let due = |domain: &Domain| is_due(domain, night, names) && gates::open(domain, &rules, now).is_ok();
    let batches = window.batches(due);
    let mut out = anstream::stdout();
    let mut say = |text: String| writeln!(out, "{text}").map_err(Stop::Output);
    for batch in &batches {
        say(format!("due: {}", told(batch, &format!("to {}", batch.state.next().unwrap_or(batch.state).name()))))?;
    }
    let rows: Vec<_> = table::rows(window, &rules, now).into_iter().filter(|row| names.contains(&row.domain)).collect();
    say(table::sum(&rows))?;
    if !batches.is_empty() {
        writeln!(anstream::stderr(), "`--due` does it; `cutover status` shows each domain").map_err(Stop::Output)?;
    }
    Ok(if night.exit_code && !batches.is_empty() { 3 } else { 0 })
}

fn is_due(domain: &Domain, night: &Night, names: &[String]) -> bool {
    !domain.held && names.contains(&domain.name) && domain.state.next().is_some_and(|next| next <= night.to)
}

/// Names a batch and what becomes of it: `old -> new: 3 domains to forwarding: a, b, c`.
fn told(batch: &Batch, what: &str) -> String {
    let Batch { pair, domains, .. } = batch;
    let named = match domains.len() {
        0..=4 => domains.join(", "),
        count => format!("{}, ... and {} more", domains[..3].join(", "), count - 3),
    };
    let plural = if domains.len() == 1 { "domain" } else { "domains" };
    format!("{} -> {}: {} {plural} {what}: {named}", pair.old, pair.new, domains.len())
}

/// Asks an old host for its domains; an exit code instead where it does not answer.
async fn ask_for_domains(night: &Night, old: &str, passwords: &Given) -> Result<Result<Vec<String>, u8>, Stop> {
    let mut arguments = night.play(old, &["domains"], &[]);
    arguments.extra_vars.pop();
    let ended = play::ran(&arguments, passwords).await?;
    let recap = match ended {
        Ok(recap) => recap,
        Err(code) => return Ok(Err(code)),
    };
    let told = recap.stats.get(RUN).and_then(|stats| stats.get("domains_of")?.get(old)?.as_array());
    let names = told.map(|names| names.iter().filter_map(Value::as_str).map(String::from).collect());
    Ok(names.ok_or(recap.exit_code().max(2)))
}

impl Going<'_> {
    fn say(&self, text: &str) -> Result<(), Stop> {
        let clock = gates::at(now(), "%H:%M:%SZ");
        writeln!(anstream::stdout(), "{clock} {text}").map_err(Stop::Output)
    }

    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| now() >= until)
    }

    /// Runs again what has to stay as it is: a panel may have written the control files anew, and mail may be late.
    async fn upkeep(&mut self) -> Result<Option<u8>, Stop> {
        let names = self.names.clone();
        let kept = |domain: &Domain| !domain.held && !domain.state.upkeep().is_empty() && !self.has_failed(domain);
        let batches = self.window.batches(|domain| names.contains(&domain.name) && kept(domain));
        for batch in batches.iter().flat_map(|batch| self.parts(batch)).collect::<Vec<_>>() {
            // What hides from it, such as a log that nobody finds, keeps nothing from being put right.
            if let Some(code) = self.work(&batch, WATCH, None).await? {
                return Ok(Some(code));
            }
            self.tell_drift(&batch)?;
            if let Some(code) = self.work(&batch, batch.state.upkeep(), None).await? {
                return Ok(Some(code));
            }
        }
        Ok(None)
    }

    fn has_failed(&self, domain: &Domain) -> bool {
        self.failed.contains(&(domain.pair.old.clone(), domain.name.clone()))
    }

    /// Leaves domains alone for the rest of the night, and says why.
    fn fail(&mut self, batch: &Batch, (why, code): (&str, u8)) {
        self.worst = if self.worst == 2 { 2 } else { code };
        self.failed.extend(batch.domains.iter().map(|name| (batch.pair.old.clone(), name.clone())));
        self.window.of(batch).for_each(|domain| domain.error = Some(why.into()));
    }

    /// Brings domains further, the furthest first, until nothing more is due.
    async fn advance(&mut self) -> Result<Option<u8>, Stop> {
        let rules = self.night.fleet.window.rules();
        loop {
            if self.is_over() {
                self.say("the night is over: nothing new is begun")?;
                return Ok(None);
            }
            let (night, names, now) = (self.night, &self.names, now());
            let due = |domain: &Domain| {
                is_due(domain, night, names) && !self.has_failed(domain) && gates::open(domain, &rules, now).is_ok()
            };
            let Some(batch) = self.window.batches(due).into_iter().next() else { return Ok(None) };
            let Some(next) = batch.state.next().filter(|_| self.budget > 0) else {
                self.say("the budget is used up: nothing new is begun")?;
                return Ok(None);
            };
            let most = self.budget.min(self.night.batch.into()).min(batch.domains.len());
            let batch = Batch { domains: batch.domains[..most].to_vec(), ..batch };
            self.budget -= most;
            if let Some(code) = self.work(&batch, next.stages(), Some(next)).await? {
                return Ok(Some(code));
            }
        }
    }

    /// Splits a batch into what one run takes.
    fn parts(&self, batch: &Batch) -> Vec<Batch> {
        let most = usize::from(self.night.batch);
        batch.domains.chunks(most).map(|domains| Batch { domains: domains.to_vec(), ..batch.clone() }).collect()
    }

    /// Runs stages for a batch; where that fails, for its halves, so that one domain does not hold up the others.
    async fn work(&mut self, batch: &Batch, stages: &[&str], to: Option<State>) -> Result<Option<u8>, Stop> {
        let mut open = VecDeque::from([batch.clone()]);
        while let Some(batch) = open.pop_front() {
            let what = match to {
                Some(to) => told(&batch, &format!("to {}", to.name())),
                None if stages == LOOK => told(&batch, "looked at"),
                None => told(&batch, &format!("to {} again", batch.state.name())),
            };
            match self.stages(&batch, stages).await? {
                Ended::Told(code) => {
                    self.store.save(&self.window)?;
                    return Ok(Some(code));
                }
                Ended::Well { changed } => {
                    self.worked |= changed || to.is_some();
                    for domain in self.window.of(&batch) {
                        match to {
                            Some(to) => domain.reach(to, now()),
                            // What differed has been put right.
                            None if stages != WATCH && stages != LOOK => {
                                (domain.error, domain.known.drift) = (None, Vec::new())
                            }
                            None => domain.error = None,
                        }
                    }
                    if changed || to.is_some() {
                        self.say(&what)?;
                    }
                }
                // A host that does not answer for some domains answers for none.
                Ended::Failed { why, code } => match batch.halves().filter(|_| code != 4) {
                    Some(halves) => {
                        self.say(&format!("failed: {what}\n  {why}\n  one after the other half of them now"))?;
                        open.extend(halves);
                    }
                    None => {
                        self.fail(&batch, (&why, code));
                        self.say(&format!("failed: {what}\n  {why}"))?;
                    }
                },
            }
            self.store.save(&self.window)?;
        }
        Ok(None)
    }

    async fn stages(&mut self, batch: &Batch, stages: &[&str]) -> Result<Ended, Stop> {
        if let Some(code) = self.signals.next().now_or_never() {
            return Ok(Ended::Told(code));
        }
        let mut arguments = self.night.play(&batch.pair.old, stages, &batch.domains);
        // A domain is retired long after its names were switched.
        let more = serde_json::json!({ "not_moved": self.window.not_moved(batch), "switched_before": true });
        arguments.extra_vars.push(more.to_string());
        let recap = match play::ran(&arguments, &self.passwords).await? {
            Ok(recap) => recap,
            Err(code) => return Ok(Ended::Told(code)),
        };
        if let Some(told) = recap.stats.get(RUN).and_then(|stats| stats.get("window")) {
            self.window.learn(told, now());
        }
        if let Some(told) = recap.stats.get(RUN).and_then(|stats| stats.get("standing")) {
            self.window.find(told);
        }
        Ok(match recap.exit_code() {
            0 => Ended::Well { changed: changed(&recap) },
            code => {
                let why = recap.failure.unwrap_or_else(|| format!("the run ended with {code}"));
                Ended::Failed { why, code }
            }
        })
    }

    /// Tells how the old host differed from what it should be.
    fn tell_drift(&mut self, batch: &Batch) -> Result<(), Stop> {
        let drift = self.window.of(batch).map(|domain| (domain.name.as_str(), domain.known.drift.as_slice()));
        let lines = drift_lines(drift);
        lines.iter().try_for_each(|text| self.say(text))
    }

    fn end(self) -> Result<u8, Stop> {
        let rows: Vec<_> = table::rows(&self.window, &self.night.fleet.window.rules(), now());
        let rows: Vec<_> = rows.into_iter().filter(|row| self.names.contains(&row.domain)).collect();
        self.say(&table::sum(&rows))?;
        Ok(match (self.worst, self.worked && self.night.exit_code) {
            (0, true) => 3,
            (worst, _) => worst,
        })
    }
}

fn changed(recap: &Recap) -> bool {
    recap.hosts.values().any(|counts| counts.changed > 0)
}

/// One line for each thing that differs, whose domains it names: what is the host's is so for all of them.
fn drift_lines<'a>(domains: impl Iterator<Item = (&'a str, &'a [String])>) -> Vec<String> {
    const NAMED: usize = 3;
    let mut said: Vec<(&str, Vec<&str>)> = Vec::new();
    for (domain, text) in domains.flat_map(|(domain, drift)| drift.iter().map(move |text| (domain, text))) {
        match said.iter_mut().find(|(known, _)| known == text) {
            Some((_, names)) => names.push(domain),
            None => said.push((text, vec![domain])),
        }
    }
    let line = |(text, names): (&str, Vec<&str>)| {
        let more = names.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("drift: {}{more}: {text}", names[..names.len().min(NAMED)].join(", "))
    };
    said.into_iter().map(line).collect()
}

/// The longest night, in seconds: what is further away is over.
const LONGEST: i64 = 18 * 3600;

/// Returns when it will next be this time of day here, or when it was, if that is nearer to this night.
fn next_time(text: &str) -> Result<i64, Diagnostics> {
    let wrong = || Diagnostic::new(format!("`--until {text}` is no time of day")).hint("such as `--until 05:30`");
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    let number = |text: &str| text.parse::<i8>().map_err(|_| wrong());
    let time = jiff::civil::Time::new(number(hour)?, number(minute)?, 0, 0).map_err(|_| wrong())?;
    let here = jiff::Zoned::now();
    let today = here.date().to_datetime(time).to_zoned(here.time_zone().clone()).map_err(|_| wrong())?;
    let next = match today > here {
        true => today,
        false => today.tomorrow().map_err(|_| wrong())?,
    };
    // Who is late is not early for the next night.
    let next = next.timestamp().as_second();
    Ok(if next - now() > LONGEST { next - 24 * 3600 } else { next })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_for_many_domains_is_one_line() {
        let idle = vec!["qmail-send is not running".to_string()];
        let both = vec!["`rcpthosts` lacks it".to_string(), idle[0].clone()];
        let domains = [("a.b", &both), ("c.d", &idle), ("e.f", &idle), ("g.h", &idle), ("i.j", &Vec::new())];
        let lines = drift_lines(domains.into_iter().map(|(name, drift)| (name, drift.as_slice())));
        let expected =
            ["drift: a.b: `rcpthosts` lacks it", "drift: a.b, c.d, e.f and 1 more: qmail-send is not running"];
        assert_eq!(lines, expected);
    }

    #[test]
    fn the_end_of_the_night_is_the_next_time_that_the_clock_shows_it() {
        for text in ["05:30", "00:00", "23:59"] {
            let next = next_time(text).unwrap();
            assert!(next > now() - 7 * 3600 && next <= now() + LONGEST, "{text}");
        }
        for text in ["25:00", "5", "aa:bb", "05:61", "-1:00"] {
            assert!(next_time(text).unwrap_err().to_string().contains("no time of day"), "{text}");
        }
    }
}

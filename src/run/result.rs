//! What a task's result looks like to `register:` and to readers.

use serde_json::Value;

use crate::change::Applied;
use crate::modules::{HIDDEN, Results};

/// Adds what applying gave to a module's own fields, under Ansible's names.
pub fn merged(mut result: Results, applied: Applied) -> Results {
    if let Some(output) = applied.output {
        let (stdout, stderr) = (output.text(), output.error_text());
        // Ansible's `strip_empty_ends`: a module that wants them kept says so.
        let keep = result.remove("strip_empty_ends") == Some(Value::Bool(false));
        let strip = |text: String| if keep { text } else { text.trim_end_matches(['\n', '\r']).to_string() };
        result.insert("rc".into(), output.status.into());
        for (name, dropped) in [("stdout_dropped", output.dropped.0), ("stderr_dropped", output.dropped.1)] {
            if dropped > 0 {
                result.insert(name.into(), dropped.into());
            }
        }
        for (name, text) in [("stdout", strip(stdout)), ("stderr", strip(stderr))] {
            result.insert(format!("{name}_lines"), text.lines().map(Value::from).collect());
            result.insert(name.into(), text.into());
        }
    }
    if let Some((start, end)) = applied.times {
        let (seconds, micros) =
            (start.duration_until(&end).as_secs().max(0), start.duration_until(&end).subsec_micros());
        let delta = format!("{}:{:02}:{:02}.{micros:06}", seconds / 3600, seconds / 60 % 60, seconds % 60);
        for (name, time) in [("start", start), ("end", end)] {
            result.insert(name.into(), time.strftime("%Y-%m-%d %H:%M:%S.%6f").to_string().into());
        }
        result.insert("delta".into(), delta.into());
    }
    result.extend(applied.report);
    result
}

/// Returns a result as it may be printed: without the values of the fields that its module hides.
pub fn printable(mut result: Results) -> Results {
    let hidden = result.remove(HIDDEN);
    for name in hidden.iter().filter_map(Value::as_array).flatten().filter_map(Value::as_str) {
        if let Some(value) = result.get_mut(name) {
            *value = "(hidden)".into();
        }
    }
    result
}

/// Replaces everything but the verdict's own words, for `no_log`.
pub fn censored(result: &Results) -> Results {
    let mut censored = Results::new();
    for name in ["changed", "failed", "skipped", "unreachable", "skip_reason"] {
        if let Some(value) = result.get(name) {
            censored.insert(name.into(), value.clone());
        }
    }
    let text = "the output has been hidden due to the fact that 'no_log: true' was specified for this result";
    censored.insert("censored".into(), text.into());
    censored
}

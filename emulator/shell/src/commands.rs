//! Commands of our own: the two that the session's loop is made of, and those that have
//! to say what this is.

use std::collections::HashMap;
use std::sync::Arc;

use bashkit::{Builtin, BuiltinContext, CommandResolver, ExecResult, async_trait};

use crate::desk::{Desk, Situation, give_way};
use crate::limits::DRAIN_TURNS;
use crate::prompt::{self, Place};
use crate::words;

/// Name of the machine and of its user.
pub(crate) const HOST: &str = "vivarium";
pub(crate) const USER: &str = "user";
pub(crate) const HOME: &str = "/home/user";

/// Waits for the next step and leaves it in [`STEP`]; its argument is `$?`.
pub(crate) struct Next(pub(crate) Desk);

/// The name under which the loop calls [`Next`].
pub(crate) const NEXT: &str = "__vivarium_next";

/// The variable in which a step lies.
pub(crate) const STEP: &str = "__vivarium_step";

#[async_trait]
impl Builtin for Next {
    async fn execute(&self, context: BuiltinContext<'_>) -> bashkit::Result<ExecResult> {
        let status = context.args.first().and_then(|word| word.parse().ok()).unwrap_or(0);
        for _ in 0..DRAIN_TURNS {
            give_way().await;
            self.0.room().await;
        }
        {
            let mut papers = self.0.lock();
            if !std::mem::take(&mut papers.status_is_set) {
                papers.status = status;
            }
            if papers.steps.is_empty() {
                papers.idle = Some(situation(context.variables, context.cwd));
            }
        }
        let step = self.0.wait(|papers| papers.steps.pop_front()).await;
        let size = {
            let mut papers = self.0.lock();
            papers.idle = None;
            papers.taken += 1;
            // What was set while the step was awaited is now the interpreter's again.
            papers.status_is_set = false;
            papers.terminal
        };
        context.variables.insert("COLUMNS".into(), size.columns.to_string());
        context.variables.insert("LINES".into(), size.rows.to_string());
        context.variables.insert(STEP.into(), step);
        Ok(ExecResult::ok(""))
    }
}

fn situation(variables: &mut HashMap<String, String>, directory: &std::path::Path) -> Situation {
    let text = variables.entry("PS1".into()).or_insert_with(|| prompt::DEFAULT.into()).clone();
    let home = variables.get("HOME").map_or(HOME, String::as_str).to_owned();
    let place = Place { user: USER, host: HOST, home: &home, directory };
    Situation {
        prompt: place.expand(&text),
        directory: directory.to_owned(),
        variables: variables.keys().cloned().collect(),
        home,
    }
}

/// Sets `$?` to what it was when the last step ended.
pub(crate) struct Status(pub(crate) Desk);

/// The name under which the loop calls [`Status`].
pub(crate) const STATUS: &str = "__vivarium_status";

#[async_trait]
impl Builtin for Status {
    async fn execute(&self, _: BuiltinContext<'_>) -> bashkit::Result<ExecResult> {
        Ok(ExecResult::with_code("", self.0.lock().status))
    }
}

/// The name behind the alias `history`: the interpreter has a `history` of its own that no
/// other can replace, and does not know what the line editor knows.
pub(crate) const HISTORY: &str = "__vivarium_history";

/// `history [-c] [N]`.
pub(crate) struct History(pub(crate) Desk);

#[async_trait]
impl Builtin for History {
    async fn execute(&self, context: BuiltinContext<'_>) -> bashkit::Result<ExecResult> {
        let mut papers = self.0.lock();
        match context.args.first().map(String::as_str) {
            None => Ok(ExecResult::ok(papers.history.clone())),
            Some("-c") => {
                papers.history.clear();
                papers.forget_history = true;
                Ok(ExecResult::ok(""))
            }
            Some(word) => match word.parse::<usize>() {
                Ok(count) => {
                    let lines: Vec<&str> = papers.history.split_inclusive('\n').collect();
                    Ok(ExecResult::ok(lines[lines.len().saturating_sub(count)..].concat()))
                }
                Err(_) => Ok(ExecResult::err("bash: history: usage: history [-c] [n]\n", 2)),
            },
        }
    }
}

/// `help`: what this is, what there is.
pub(crate) struct Help(pub(crate) Vec<String>);

#[async_trait]
impl Builtin for Help {
    async fn execute(&self, context: BuiltinContext<'_>) -> bashkit::Result<ExecResult> {
        let width = context.variables.get("COLUMNS").and_then(|text| text.parse().ok());
        Ok(ExecResult::ok(format!("{}{}", words::HELP, columns(&self.0, width.unwrap_or(80)))))
    }
}

/// Names in rows no wider than `width`.
fn columns(names: &[String], width: usize) -> String {
    let mut out = String::new();
    let mut column = 0;
    for name in names {
        if column > 0 && column + 1 + name.len() > width {
            out.push('\n');
            column = 0;
        }
        if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(name);
        column += name.len();
    }
    out + "\n"
}

/// `uname`, which must not pass for a kernel.
pub(crate) struct Uname;

#[async_trait]
impl Builtin for Uname {
    async fn execute(&self, context: BuiltinContext<'_>) -> bashkit::Result<ExecResult> {
        let mut flags = String::new();
        for argument in context.args {
            match argument.as_str() {
                "--all" => flags.push('a'),
                "--kernel-name" | "--operating-system" => flags.push('s'),
                "--kernel-release" => flags.push('r'),
                "--nodename" => flags.push('n'),
                "--machine" => flags.push('m'),
                short if short.starts_with('-') && !short.starts_with("--") => {
                    flags.push_str(&short[1..]);
                }
                other => {
                    return Ok(ExecResult::err(format!("uname: invalid option '{other}'\n"), 1));
                }
            }
        }
        if let Some(wrong) = flags.chars().find(|flag| !"asnrvmpio".contains(*flag)) {
            return Ok(ExecResult::err(format!("uname: invalid option -- '{wrong}'\n"), 1));
        }
        let version = format!("{}-simulated", env!("CARGO_PKG_VERSION"));
        let parts = [
            ("so", "Vivarium-sim"),
            ("n", HOST),
            ("r", version.as_str()),
            ("v", "#0 no kernel"),
            ("mpi", "wasm32"),
        ];
        let is_asked = |keys: &str| match flags.as_str() {
            "" => keys.contains('s'),
            flags => flags.contains('a') || keys.chars().any(|key| flags.contains(key)),
        };
        let shown: Vec<&str> =
            parts.iter().filter(|(keys, _)| is_asked(keys)).map(|(_, text)| *text).collect();
        Ok(ExecResult::ok(shown.join(" ") + "\n"))
    }
}

/// Answers for commands that only a real Linux has.
pub(crate) struct OnlyLinux;

impl CommandResolver for OnlyLinux {
    fn resolve(&self, name: &str) -> Option<Arc<dyn Builtin>> {
        let name = name.rsplit('/').next().unwrap_or(name);
        words::ONLY_LINUX
            .contains(&name)
            .then(|| Arc::new(Missing(name.into())) as Arc<dyn Builtin>)
    }
}

struct Missing(String);

#[async_trait]
impl Builtin for Missing {
    async fn execute(&self, _: BuiltinContext<'_>) -> bashkit::Result<ExecResult> {
        Ok(ExecResult::err(words::only_linux(&self.0), 127))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fill_rows_and_no_more() {
        let names: Vec<String> = ["aa", "bb", "cc", "dddddddddd"].map(String::from).into();
        assert_eq!(columns(&names, 8), "aa bb cc\ndddddddddd\n");
    }
}

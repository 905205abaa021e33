//! The runtime's own words, out of its log file and its stderr.

use serde::Deserialize;

/// Longer messages tell no more, and end up in a status that somebody reads.
const MAX_BYTES: usize = 2048;

#[derive(Deserialize)]
struct LogLine {
    #[serde(default)]
    level: String,
    #[serde(default)]
    msg: String,
}

/// What the runtime says went wrong: the errors of its log (JSON lines, logfmt or plain), else of its stderr.
#[must_use]
pub fn words(log: &str, stderr: &str) -> String {
    let found = [log, stderr].into_iter().map(errors).find(|text| !text.is_empty());
    let mut text = found.unwrap_or_else(|| "it failed without a word".to_owned());
    if text.len() > MAX_BYTES {
        let end = (0..=MAX_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Whether the message is how runc, youki or crun say that they do not know the container. Other things that do not exist
/// have to do with containers, too.
pub(super) fn means_no_such_container(message: &str, id: &str) -> bool {
    let is_said = |part: &str| {
        let part = part.trim_matches([' ', '.']).to_lowercase().replace(['"', '`', '\''], "");
        part == "container does not exist"
            || part == format!("container {} does not exist", id.to_lowercase())
    };
    message.split([':', ';']).any(is_said)
        || message.contains("error opening file") && message.contains(&format!("/{id}/status`: No such file"))
}

/// Whether the message is how a runtime says that it has no such command: crun and runtimes made with Go's cobra; runc,
/// made with its cli; youki, made with clap.
pub(super) fn means_no_such_command(message: &str) -> bool {
    let message = message.to_lowercase();
    ["unknown command", "no help topic for", "unrecognized subcommand"]
        .iter()
        .any(|known| message.contains(known))
}

/// The request's field that a runtime's words are about, where it is the request's fault: a command that cannot be run, or a
/// working directory that is none. runc, crun and youki each say it in their way, and only once all is mounted.
pub(crate) fn faulty_field(message: &str) -> Option<&'static str> {
    let message = message.to_lowercase();
    let says = |parts: &[&str]| parts.iter().all(|part| message.contains(part));
    // The last is runc's, which makes one that is missing.
    let is_working_dir = ["chdir", "cwd", "working directory", "container init: mkdir"]
        .iter()
        .any(|word| message.contains(word));
    if is_working_dir && ["not a directory", "enotdir"].iter().any(|word| message.contains(word)) {
        return Some("config.working_dir");
    }
    // A hook's program is the node's.
    let is_command = !message.contains("hook")
        && (says(&["executable", "not found"])
            || says(&["exec:", "no such file or directory"])
            || says(&["exec:", "permission denied"])
            || says(&["exec:", "is a directory"])
            || message.contains("is not executable")
            || says(&["executable", "not have correct permissions"]));
    is_command.then_some("config.command")
}

/// How often a runtime is asked that ends before it has begun.
const TRIES: usize = 3;

/// Asks a runtime, and again while it ends before it has begun.
pub(crate) async fn until_begun<T, F: Future<Output = T>>(
    mut ask: impl FnMut() -> F,
    has_not_begun: impl Fn(&T) -> bool,
) -> T {
    let mut outcome = ask().await;
    for _ in 1..TRIES {
        if !has_not_begun(&outcome) {
            break;
        }
        outcome = ask().await;
    }
    outcome
}

/// Whether the runtime ended before it looked at what it was asked, for a reason that passes. youki first copies itself
/// into a memory file and seals that, which the kernel refuses (EBUSY) while it holds one of the copy's pages itself
/// (DAMON does, when it pages out).
pub(crate) fn means_not_begun(message: &str) -> bool {
    message.contains("failed to seal /proc/self/exe")
}

fn errors(text: &str) -> String {
    let mut lines: Vec<(bool, String)> = text.lines().filter_map(parse).collect();
    if lines.iter().any(|(is_error, _)| *is_error) {
        lines.retain(|(is_error, _)| *is_error);
    }
    let mut messages: Vec<String> = lines.into_iter().map(|(_, message)| message).collect();
    // runc writes the same error to its log and, through its caller, once more.
    messages.dedup();
    messages.join("; ")
}

/// A line's message, and whether it is an error.
fn parse(line: &str) -> Option<(bool, String)> {
    let line = line.trim();
    if line.is_empty() {
        return None;
    }
    if let Ok(LogLine { level, msg }) = serde_json::from_str(line) {
        let message = msg.trim().to_owned();
        return (!message.is_empty()).then_some((is_error(&level), message));
    }
    match (logfmt(line, "level="), logfmt(line, "msg=")) {
        (Some(level), Some(message)) => Some((is_error(&level), message)),
        // crun and panics speak plainly; that they speak at all is an error.
        _ => Some((true, line.to_owned())),
    }
}

fn is_error(level: &str) -> bool {
    matches!(level.to_ascii_lowercase().as_str(), "error" | "fatal" | "panic")
}

/// The value behind `key`, in quotes as logrus writes them or bare.
fn logfmt(line: &str, key: &str) -> Option<String> {
    let start =
        line.find(&format!(" {key}")).map(|at| at + 1).or_else(|| line.starts_with(key).then_some(0))?;
    let value = &line[start + key.len()..];
    let Some(quoted) = value.strip_prefix('"') else {
        return value.split_whitespace().next().map(str::to_owned);
    };
    let mut text = String::new();
    let mut letters = quoted.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => return Some(text),
            '\\' => match letters.next()? {
                'n' => text.push(' '),
                other => text.push(other),
            },
            letter => text.push(letter),
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests;

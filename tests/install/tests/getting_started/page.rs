//! Commands of a page, and what it says that they print.

use regex::Regex;

/// A command as the page shows it.
pub struct Shown {
    pub line: String,
    /// `...` stands for any lines.
    pub output: Vec<String>,
}

/// All commands in blocks marked `console`, in order.
pub fn commands(page: &str) -> Vec<Shown> {
    let mut found: Vec<Shown> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        match (inside, line) {
            (false, "```console") => inside = true,
            (true, "```") => inside = false,
            (true, line) => match line.strip_prefix("$ ") {
                Some(command) => found.push(Shown { line: command.to_owned(), output: Vec::new() }),
                None => found.last_mut().expect("a command first").output.push(line.to_owned()),
            },
            _ => {}
        }
    }
    assert!(!found.is_empty(), "the page has no commands");
    found
}

impl Shown {
    /// Numbers may be others.
    pub fn compare(&self, printed: &[&str]) -> Result<(), String> {
        let mut lines = printed.iter();
        let mut any = false;
        for expected in &self.output {
            if expected == "..." {
                any = true;
                continue;
            }
            let same = |line: &&&str| alike(line) == alike(expected);
            let found = if any { lines.find(same) } else { lines.next().filter(same) };
            if found.is_none() {
                return Err(format!("the page shows {expected:?}"));
            }
            any = false;
        }
        match lines.next() {
            Some(more) if !any => Err(format!("the page doesn't show {more:?}")),
            _ => Ok(()),
        }
    }
}

/// What is the same on every machine: without numbers, releases, lengths of time, and the width of columns.
fn alike(line: &str) -> String {
    let varying =
        [(r"\b[0-9]+(\.[0-9]+){2,}[-+.\w]*", "0.0.0"), (r"\b([0-9]+[smhd])+\b", "0s"), ("[0-9]+", "0")];
    let spaced = line.split_whitespace().collect::<Vec<_>>().join(" ");
    varying.iter().fold(spaced, |line, (pattern, same)| {
        Regex::new(pattern).expect("a pattern").replace_all(&line, *same).into_owned()
    })
}

#[test]
fn output_is_compared_but_for_numbers() {
    let page = "text\n```console\n$ one\na 1\n...\nb\n$ two\n```\n";
    let commands = commands(page);
    assert_eq!(commands.iter().map(|it| it.line.as_str()).collect::<Vec<_>>(), ["one", "two"]);
    assert!(commands[0].compare(&["a 22", "x", "b"]).is_ok());
    assert!(commands[0].compare(&["c 22", "b"]).is_err());
    assert!(commands[0].compare(&["a 1", "b", "c"]).is_err());
    assert!(commands[1].compare(&[]).is_ok() && commands[1].compare(&["x"]).is_err());
    for (page, printed) in
        [("web   6.1.0-13  41s", "web 6.18.44+ 2m3s"), ("  \"port\": 80,", "\t\"port\": 443,")]
    {
        assert_eq!(alike(page), alike(printed));
    }
    assert_ne!(alike("True 1"), alike("False 1"));
}

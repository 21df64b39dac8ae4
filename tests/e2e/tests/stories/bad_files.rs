//! Whatever stands in a file, everything else goes on, and the message says which file, what, why and what to do.

use std::fs::{self, File};
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::{Observed as _, Stage};
use lab::traffic::{Steady, Volley, tcp};
use lab::wait_until;

/// Time for a file to be read and found wanting.
const NOTICE: Duration = Duration::from_mins(1);

struct Case {
    story: &'static str,
    file: &'static str,
    text: &'static str,
    /// The message has all of these: the object, the cause, the fix.
    told: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case {
        story: "a port that no protocol has",
        file: "port.yaml",
        text: "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: wrong, namespace: shop}
spec:
  gatewayClassName: gateway-agent
  listeners: [{name: one, protocol: TCP, port: 70000}]
",
        told: &["port.yaml", "Gateway shop/wrong", "spec.listeners[0].port", "70000", "65535"],
    },
    Case {
        story: "a reference to a Service that is not there",
        file: "reference.yaml",
        text: "\
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: zz-last, namespace: shop}
spec:
  parentRefs: [{name: edge, sectionName: tcp}]
  rules: [{backendRefs: [{name: nobody, port: 80}]}]
",
        told: &["reference.yaml", "TCPRoute shop/zz-last", "nobody"],
    },
    Case {
        story: "a half-written document",
        file: "half.yaml",
        text: "apiVersion: v1\nkind: Service\nmetadata: {name: half, names",
        told: &["half.yaml"],
    },
    Case {
        story: "an object that another file has already",
        file: "zz-twice.yaml",
        text: "apiVersion: v1\nkind: Service\nmetadata: {name: all, namespace: shop}\nspec:\n  ports: [{port: 1}]\n",
        told: &["zz-twice.yaml", "Service shop/all", "objects.yaml"],
    },
];

#[test]
fn bad_files_are_told_and_everything_else_goes_on() -> Result<()> {
    let mut stage = Stage::set("bad-files", &[("all", 1, &["pod1", "pod3"]), ("other", 0, &["pod2"])])?;
    let steady = Steady::start(stage.client(), stage.tcp()[0], 10)?;
    for case in CASES {
        let path = stage.config.join(case.file);
        fs::write(&path, case.text)?;
        wait_told(&stage, case.story, case.told)?;
        assert_serves(&stage, case.story);
        fs::remove_file(&path)?;
        wait_quiet(&stage, case.story)?;
    }

    half_of_all_objects(&stage)?;
    a_writer_who_takes_his_time(&stage)?;

    // And a good file is still taken at once.
    stage.change(|objects| {
        objects.set_weight("all", 0);
        objects.set_weight("other", 1);
    })?;
    wait_quiet(&stage, "the good file")?;
    let newcomers = tcp(stage.client(), stage.tcp()[0], Volley::of(50));
    assert_eq!(newcomers.of("pod2"), 50, "{newcomers:?}");
    let report = steady.finish();
    assert_eq!(report.broken().count(), 0, "{report:?}");
    Ok(())
}

/// The file that everything stands in is cut off within an object.
fn half_of_all_objects(stage: &Stage) -> Result<()> {
    let path = stage.config.join("objects.yaml");
    let whole = fs::read_to_string(&path)?;
    let brace = whole[whole.len() / 2..].find('{').context("there are braces in the second half")?;
    fs::write(&path, &whole[..=whole.len() / 2 + brace])?;
    wait_told(stage, "half of all objects", &["objects.yaml"])?;
    assert_serves(stage, "half of all objects");
    Ok(())
}

/// A file that is still open for writing says nothing yet, however right it looks.
fn a_writer_who_takes_his_time(stage: &Stage) -> Result<()> {
    let mut writer = File::create(stage.config.join("objects.yaml"))?;
    writer.write_all(b"apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n")?;
    writer.flush()?;
    // Another file that is wrong: when its message comes, the agent has looked at the folder.
    let sign = stage.config.join("sign.yaml");
    fs::write(&sign, "kind: Nothing\n")?;
    wait_told(stage, "a writer who takes his time", &["sign.yaml"])?;
    assert_serves(stage, "a writer who takes his time");
    fs::remove_file(&sign)?;
    Ok(())
}

fn wait_told(stage: &Stage, story: &str, told: &[&str]) -> Result<()> {
    let says_it = |message: &String| told.iter().all(|word| message.contains(word));
    for agent in &stage.agents {
        let seen = wait_until(story, NOTICE, || agent.problems().is_ok_and(|all| all.iter().any(says_it)));
        if seen.is_err() {
            anyhow::bail!("{story}: no message has all of {told:?}: {:#?}", agent.problems()?);
        }
        for message in agent.problems()? {
            println!("{story}: {message}");
        }
    }
    Ok(())
}

fn wait_quiet(stage: &Stage, story: &str) -> Result<()> {
    for agent in &stage.agents {
        wait_until(&format!("{story}: the message taken back"), NOTICE, || {
            agent.problems().is_ok_and(|all| all.is_empty())
        })?;
    }
    Ok(())
}

fn assert_serves(stage: &Stage, story: &str) {
    for target in stage.tcp() {
        let tally = tcp(stage.client(), target, Volley::of(50));
        assert_eq!((tally.answered(), tally.failed()), (50, 0), "{story}: {tally:?}");
    }
}

//! One round, as a test: `cargo run -p chaos -- --minutes 10` plays more of them.

use std::path::Path;
use std::process::Command;

#[test]
fn one_round_holds() {
    if !test_support::postgres_available() {
        return;
    }
    let program = Path::new(env!("CARGO_BIN_EXE_chaos"));
    let folder = program.parent().expect("it lies in a folder");
    let mut command = Command::new(program);
    command.args(["--seed", "1", "--rounds", "1"]);
    // Built with all others when all tests run; otherwise the program builds them.
    if ["sequencer-recovery", "outbox-sync"]
        .iter()
        .all(|tool| folder.join(tool).exists())
    {
        command.arg("--tools").arg(folder);
    }
    let output = command.output().expect("it can be started");
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout)
    );
}

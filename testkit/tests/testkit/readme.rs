//! The README's first conversation, line by line.

use std::fs;
use std::process::Command;

use testkit::system::{System, SystemConfig};

#[tokio::test]
async fn the_first_conversation_of_the_readme_works_as_it_stands_there() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).expect("README.md");
    let (_, section) = readme.split_once("## A first conversation").expect("the section");
    let section = section.split("\n## ").next().expect("its text");
    let mut lines = String::from("set -eu\n");
    for block in section.split("```bash\n").skip(1) {
        lines += block.split("```").next().expect("a closed block");
    }
    let system = System::start(SystemConfig::default()).await;
    let script = lines.replace("http://localhost:8000", &system.url(""));
    let output = Command::new("bash").arg("-c").arg(&script).output().expect("bash");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}\nof\n{script}");
    assert!(text.contains("\"encrypted_content\""), "the message is shown: {text}");
    assert!(text.contains("\"status\":\"deleted\""), "it is acknowledged: {text}");
}

//! Settings: layers, and errors that name their place.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;

use platform::config::{Config, DEFAULTS, Place, Sources};
use serde::Deserialize;
use testkit::servers::temporary_directory;

fn refusal(sources: &Sources) -> String {
    sources.load().unwrap_err().to_string()
}

#[test]
fn the_defaults_alone_are_a_configuration() {
    let config = Sources::default().load().unwrap().config;
    assert_eq!((config.server.port, config.server.metrics_port), (8000, 9000));
    assert_eq!(config.limits.command_deadline.as_secs(), 5);
    assert!(config.postgres.url.set().is_none() && config.keys.wrapping_key.is_none());
}

#[test]
fn the_documented_file_and_the_types_name_the_same_settings() {
    let whole: toml::Table = DEFAULTS.parse().unwrap();
    let read = |table: &toml::Table| Config::deserialize(table.clone()).map_err(|error| error.to_string());
    read(&whole).unwrap();
    for (section, body) in &whole {
        for key in body.as_table().unwrap().keys() {
            let mut lacks = whole.clone();
            lacks[section].as_table_mut().unwrap().remove(key);
            assert!(
                read(&lacks).unwrap_err().contains(&format!("missing field `{key}`")),
                "{section}.{key} has a default beside the file's"
            );
        }
        let mut more = whole.clone();
        more[section].as_table_mut().unwrap().insert("surplus".into(), 1.into());
        assert!(read(&more).unwrap_err().contains("unknown field `surplus`"), "[{section}] takes what it does not know");
    }
}

#[test]
fn a_flag_overrides_the_environment_which_overrides_the_file() {
    let file = temporary_directory().join("own.toml");
    fs::write(&file, "[server]\nport = 1\nmetrics_port = 1\nshutdown_seconds = 1\n").unwrap();
    let sources = Sources::of_variables([("PORT", "2"), ("POSTRIDER_SERVER__METRICS_PORT", "2"), ("UNRELATED", "x")]);
    let effective = sources.with_file(&file).with_flag("--port", "server.port", "3").load().unwrap();
    let server = &effective.config.server;
    assert_eq!((server.port, server.metrics_port, server.shutdown.as_secs()), (3, 2, 1));
    assert_eq!(effective.place("server.port"), Place::Flag("--port".into()));
    assert_eq!(effective.place("server.metrics_port"), Place::Environment("POSTRIDER_SERVER__METRICS_PORT".into()));
    assert_eq!(effective.place("server.shutdown_seconds"), Place::File(file, 4));
    assert_eq!(effective.place("server.host"), Place::Default);
}

#[test]
fn what_is_unknown_or_wrong_is_named_with_its_place_and_what_would_be_right() {
    let file = temporary_directory().join("own.toml");
    for (text, expected) in [
        ("[server]\n\nprot = 1\n", ["server.prot", "own.toml:3", "host, metrics_port, port"]),
        ("[sever]\nport = 1\n", ["sever.port", "own.toml:2", "sections are auth"]),
        ("port = 1\n", ["port", "own.toml:1", "below a section"]),
        ("[server]\nport = \"x\"\n", ["server.port", "own.toml:2", "a whole number from 0 to 65535"]),
        ("[server]\nport = 70000\n", ["server.port", "own.toml:2", "a whole number from 0 to 65535"]),
        ("[server]\ndata_dir = 7\n", ["server.data_dir", "own.toml:2", "would be right"]),
        ("[telemetry]\nformat = \"xml\"\n", ["telemetry.format", "own.toml:2", "auto, pretty, json"]),
        ("[server]\nport = \n", ["own.toml:2", "", ""]),
        ("[auth]\nhasher_queue = 0\n", ["auth.hasher_queue", "own.toml:2", "from 1 to 10000"]),
        ("[limits]\ncommand_deadline_ms = 5\n", ["limits.command_deadline_ms", "own.toml:2", "from 100 to 60000"]),
        ("[limits]\ncommand_deadline_ms = -5\n", ["limits.command_deadline_ms", "own.toml:2", "a whole number"]),
        (
            "[kafka]\nsecurity_protocol = \"sasl_ssl\"\nsasl_username = \"ann\"\nsasl_mechanism = \"MD5\"\n",
            ["kafka.sasl_mechanism", "own.toml:4", "SCRAM-SHA-256"],
        ),
        ("[kafka]\nssl_ca_file = \"/nowhere/ca\"\n", ["kafka.ssl_ca_file", "own.toml:2", "no file /nowhere/ca"]),
        ("[server]\nhost = \"nowhere\"\n", ["server.host", "own.toml:2", "IP address"]),
    ] {
        fs::write(&file, text).unwrap();
        let refused = refusal(&Sources::default().with_file(&file));
        assert!(expected.iter().all(|part| refused.contains(part)), "{text:?}: {refused}");
    }
    let refused = refusal(&Sources::of_variables([("PORT", "eighty")]));
    assert!(refused.contains("environment variable PORT") && refused.contains("whole number"), "{refused}");
    let refused = refusal(&Sources::of_variables([("POSTRIDER_SERVER_PORT", "80")]));
    assert!(refused.contains("POSTRIDER_SERVER__PORT"), "{refused}");
    let refused = refusal(&Sources::default().with_flag("--set", "server.prot", "1"));
    assert!(refused.contains("flag --set") && refused.contains("server.prot"), "{refused}");
}

#[test]
fn secrets_are_shown_neither_in_the_listing_nor_in_errors() {
    let key = "cGxhbnRlZHBsYW50ZWRwbGFudGVkcGxhbnRlZHBsYW4=";
    let sources = Sources::of_variables([("DATABASE_URL", "postgres://ann:planted@db/x"), ("POSTRIDER_KEYS__WRAPPING_KEY", key)]);
    let effective = sources.load().unwrap();
    assert!(effective.config.keys.wrapping_key.is_some());
    let said = format!("{effective:?}");
    assert!(!said.contains("planted") && !said.contains(key) && said.contains("ann:***@db"), "{said}");
    for (name, value) in [("DATABASE_URL", "planted"), ("POSTRIDER_KEYS__WRAPPING_KEY", "planted")] {
        let refused = refusal(&Sources::of_variables([(name, value)]));
        assert!(!refused.contains("planted") && refused.contains(name), "{refused}");
    }
}

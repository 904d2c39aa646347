//! From defaults, a file, the environment and flags to one configuration.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use figment::error::Kind;
use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::{Config, DEFAULTS, ServerUrl, StartError};

/// Names that everybody knows, beside `POSTRIDER_<SECTION>__<KEY>`.
const WELL_KNOWN: [(&str, &str); 9] = [
    ("DATABASE_URL", "postgres.url"),
    ("AUTH_DATABASE_URL", "postgres.auth_url"),
    ("USER_DATABASE_URL", "postgres.user_url"),
    ("MESSAGE_DATABASE_URL", "postgres.message_url"),
    ("KEYS_DATABASE_URL", "postgres.keys_url"),
    ("REDIS_URL", "redis.url"),
    ("KAFKA_BROKERS", "kafka.brokers"),
    ("PORT", "server.port"),
    ("FRONTEND_URL", "server.frontend_url"),
];
const PREFIX: &str = "POSTRIDER_";
const FILE_VARIABLE: &str = "POSTRIDER_CONFIG";
const FILE_HERE: &str = "postrider.toml";
/// Shown as `***` wherever values are shown.
const SECRETS: [&str; 2] = ["keys.wrapping_key", "kafka.sasl_password"];

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Nobody changed it.
    Default,
    /// A line of a file.
    File(PathBuf, usize),
    /// An environment variable.
    Environment(String),
    /// A flag, as it is written.
    Flag(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// One value from one place.
#[derive(Debug, Clone)]
pub struct Setting {
    key: String,
    value: Value,
    place: Place,
}

/// Where to look for settings, lowest layer first.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    file: Option<PathBuf>,
    environment: Vec<(OsString, OsString)>,
    flags: Vec<(String, String, String)>,
}

/// What is in effect, and where each value came from.
#[derive(Debug)]
pub struct Effective {
    /// The values.
    pub config: Config,
    shown: Vec<(String, String, Place)>,
}

impl Sources {
    /// The environment of this process; a file is the one that `--config` names, else `POSTRIDER_CONFIG`, else `./postrider.toml` if there is one.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>) -> Self {
        let mut sources = Self { file, environment: std::env::vars_os().collect(), flags: Vec::new() };
        if sources.file.is_none() {
            let named = sources.environment.iter().find(|(name, value)| name == FILE_VARIABLE && !value.is_empty());
            let here = || Some(PathBuf::from(FILE_HERE)).filter(|path| path.exists());
            sources.file = named.map(|(_, path)| PathBuf::from(path)).or_else(here);
        }
        sources
    }

    /// Only these variables, and no file: for tests.
    #[must_use]
    pub fn of_variables<const N: usize>(variables: [(&str, &str); N]) -> Self {
        Self { environment: variables.map(|(name, value)| (name.into(), value.into())).into(), ..Self::default() }
    }

    /// With this file.
    #[must_use]
    pub fn with_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.file = Some(file.into());
        self
    }

    /// With a flag, written as `flag`, which sets `key`.
    #[must_use]
    pub fn with_flag(mut self, flag: impl Into<String>, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.flags.push((flag.into(), key.into(), value.into()));
        self
    }

    /// Puts the layers upon each other.
    ///
    /// # Errors
    /// A sentence with name, place, and what would be right, for whatever is unknown or wrong.
    pub fn load(&self) -> Result<Effective, StartError> {
        let known = Known::new()?;
        let mut settings = self.file_settings(&known)?;
        settings.extend(self.environment_settings(&known)?);
        for (flag, key, value) in &self.flags {
            settings.push(known.parse(key, value, Place::Flag(flag.clone()))?);
        }
        let mut figment = Figment::from(Toml::string(DEFAULTS));
        for setting in &settings {
            figment = figment.merge(setting);
        }
        let places: BTreeMap<&str, &Place> = settings.iter().map(|setting| (setting.key.as_str(), &setting.place)).collect();
        let place = |key: &str| places.get(key).map_or(Place::Default, |place| (*place).clone());
        let config: Config = figment.extract().map_err(|error| {
            let key = error.path.join(".");
            StartError::new(format!("{key} ({}): {}", place(&key), complaint(&key, &error.kind)))
        })?;
        if let Some((key, right)) = config.contradiction() {
            return Err(StartError::new(format!("{key} ({}): {right}", place(key))));
        }
        let show = |key: &String| {
            let value = figment.find_value(key).map(|value| shown(key, &value)).unwrap_or_default();
            (key.clone(), value, place(key))
        };
        Ok(Effective { shown: known.keys.keys().map(show).collect(), config })
    }

    fn file_settings(&self, known: &Known) -> Result<Vec<Setting>, StartError> {
        let Some(path) = &self.file else { return Ok(Vec::new()) };
        let text = std::fs::read_to_string(path)
            .map_err(|error| StartError::because(format!("the configuration file {} cannot be read", path.display()), error))?;
        let line_of = |offset: usize| text[..offset.min(text.len())].matches('\n').count() + 1;
        let place = |offset: usize| Place::File(path.clone(), line_of(offset));
        let sections = toml::de::DeTable::parse(&text).map_err(|error| {
            let at = place(error.span().map_or(0, |span| span.start));
            StartError::new(format!("{at}: {}", error.message()))
        })?;
        let values =
            Toml::string(&text).data().map_err(|error| StartError::because(format!("{} cannot be read", path.display()), error))?;
        let values = values.get(&Profile::Default).cloned().unwrap_or_default();
        let mut settings = Vec::new();
        for (section, body) in sections.get_ref() {
            let at = place(section.span().start);
            let Some(body) = body.get_ref().as_table() else {
                return Err(StartError::new(format!("{section} ({at}): every setting stands below a section; {}", known.sections())));
            };
            for key in body.keys() {
                let (name, at) = (format!("{section}.{key}"), place(key.span().start));
                known.must_know(&name, &at)?;
                let value = values.get(&**section.get_ref()).and_then(Value::as_dict).and_then(|dict| dict.get(&**key.get_ref()));
                let value = value.cloned().ok_or_else(|| StartError::new(format!("{name} ({at}): it has no value")))?;
                settings.push(Setting { key: name, value, place: at });
            }
        }
        Ok(settings)
    }

    fn environment_settings(&self, known: &Known) -> Result<Vec<Setting>, StartError> {
        let named = |name: &str| self.environment.iter().find(|(n, _)| n == name).map(|(_, value)| value.to_string_lossy());
        let mut settings = Vec::new();
        for (name, key) in WELL_KNOWN {
            if let Some(value) = named(name).filter(|value| !value.is_empty()) {
                settings.push(known.parse(key, &value, Place::Environment(name.into()))?);
            }
        }
        for (name, value) in &self.environment {
            let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
            let Some(key) = name.strip_prefix(PREFIX) else { continue };
            if name == FILE_VARIABLE || key.starts_with("TEST_") || crate::crash::VARIABLES.contains(&&*name) {
                continue;
            }
            let place = Place::Environment(name.clone().into_owned());
            let Some((section, key)) = key.split_once("__") else {
                let right = known.keys.keys().map(|key| variable(key)).find(|right| right.replace("__", "_") == name);
                let right = right.unwrap_or_else(|| format!("{PREFIX}<SECTION>__<KEY>, with two underscores between them"));
                return Err(StartError::new(format!("{place}: there is no such setting; right would be {right}")));
            };
            settings.push(known.parse(&format!("{}.{}", section.to_lowercase(), key.to_lowercase()), &value, place)?);
        }
        Ok(settings)
    }
}

impl Effective {
    /// Every key, its value (secrets masked) and its place, in the order of the keys.
    #[must_use]
    pub fn shown(&self) -> &[(String, String, Place)] {
        &self.shown
    }

    /// Where a key's value came from.
    #[must_use]
    pub fn place(&self, key: &str) -> Place {
        self.shown.iter().find(|(name, ..)| name == key).map_or(Place::Default, |(.., place)| place.clone())
    }
}

/// The keys of the default file, and what their defaults are.
struct Known {
    keys: BTreeMap<String, Value>,
}

impl Known {
    fn new() -> Result<Self, StartError> {
        let data = Toml::string(DEFAULTS).data().map_err(|error| StartError::because("the built-in defaults cannot be read", error))?;
        let sections = data.get(&Profile::Default).cloned().unwrap_or_default();
        let mut keys = BTreeMap::new();
        for (section, body) in sections {
            for (key, value) in body.into_dict().unwrap_or_default() {
                keys.insert(format!("{section}.{key}"), value);
            }
        }
        Ok(Self { keys })
    }

    fn sections(&self) -> String {
        let mut names: Vec<_> = self.keys.keys().filter_map(|key| key.split('.').next()).collect();
        names.dedup();
        format!("the sections are {}", names.join(", "))
    }

    fn must_know(&self, key: &str, place: &Place) -> Result<&Value, StartError> {
        self.keys.get(key).ok_or_else(|| {
            let section = key.split('.').next().unwrap_or_default();
            let prefix = format!("{section}.");
            let neighbours: Vec<_> = self.keys.keys().filter_map(|key| key.strip_prefix(&prefix)).collect();
            let right = if neighbours.is_empty() { self.sections() } else { format!("[{section}] knows {}", neighbours.join(", ")) };
            StartError::new(format!("{key} ({place}): there is no such setting; {right}"))
        })
    }

    /// A text as the type that the default has.
    fn parse(&self, key: &str, text: &str, place: Place) -> Result<Setting, StartError> {
        let value = match self.must_know(key, &place)? {
            Value::Num(..) => text.trim().parse::<u64>().map(Value::from).ok(),
            Value::Bool(..) => text.trim().parse::<bool>().map(Value::from).ok(),
            _ => Some(Value::from(text)),
        };
        let right = if matches!(self.keys.get(key), Some(Value::Bool(..))) { "true or false" } else { "a whole number" };
        let value = value.ok_or_else(|| StartError::new(format!("{key} ({place}): {text:?} is not {right}, which would be right")))?;
        Ok(Setting { key: key.into(), value, place })
    }
}

impl Provider for Setting {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.place.to_string())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let (section, key) = self.key.split_once('.').unwrap_or((&self.key, ""));
        let body: Dict = [(key.to_owned(), self.value.clone())].into();
        Ok([(Profile::Default, [(section.to_owned(), Value::from(body))].into())].into())
    }
}

/// The environment variable of a key.
fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}

fn is_url(key: &str) -> bool {
    key.ends_with(".url") || key.ends_with("_url")
}

fn shown(key: &str, value: &Value) -> String {
    match value {
        Value::String(_, text) if text.is_empty() => "not set".into(),
        Value::String(..) if SECRETS.contains(&key) => "***".into(),
        Value::String(_, text) if is_url(key) => ServerUrl::new(text.as_str()).masked(),
        Value::String(_, text) => text.clone(),
        Value::Bool(_, yes) => yes.to_string(),
        other => other.to_i128().map_or_else(|| format!("{other:?}"), |number| number.to_string()),
    }
}

/// What is wrong and what would be right, without showing what may be secret.
fn complaint(key: &str, kind: &Kind) -> String {
    let secret = SECRETS.contains(&key) || is_url(key);
    match kind {
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) if secret => format!("{} would be right", for_people(expected)),
        Kind::InvalidType(actual, expected) | Kind::InvalidValue(actual, expected) => {
            format!("found {actual}; {} would be right", for_people(expected))
        }
        Kind::UnknownVariant(actual, right) => format!("found {actual:?}; right would be one of {}", right.join(", ")),
        Kind::Message(message) => message.clone(),
        other => other.to_string(),
    }
}

/// The names of number types are no news to an operator.
fn for_people(expected: &impl fmt::Display) -> String {
    match expected.to_string().as_str() {
        "u16" => format!("a whole number from 0 to {}", u16::MAX),
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        "u64" | "usize" => "a whole number".into(),
        "a string" | "string" => "a text in quotes".into(),
        other => other.into(),
    }
}

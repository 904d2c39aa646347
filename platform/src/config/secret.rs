//! Values that no log, error or listing shows.

use std::fmt;

use serde::{Deserialize, Deserializer};

/// A text that only [`Secret::expose`] shows.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Keeps it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
    /// `None` when it is empty, which means not set.
    #[must_use]
    pub fn set(&self) -> Option<&str> {
        (!self.0.is_empty()).then_some(self.0.as_str())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "not set" } else { "***" })
    }
}

/// The URL of a server; shown without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl(String);

impl ServerUrl {
    /// Keeps it.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }
    /// The whole URL, password included.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
    /// `None` when it is empty, which means not set.
    #[must_use]
    pub fn set(&self) -> Option<&Self> {
        (!self.0.is_empty()).then_some(self)
    }
    /// What stands before `://`; empty where nothing does.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.0.split_once("://").map_or("", |(scheme, _)| scheme)
    }
    /// The URL with `***` for its password.
    #[must_use]
    pub fn masked(&self) -> String {
        let Some((scheme, rest)) = self.0.split_once("://") else { return if self.0.is_empty() { String::new() } else { "***".into() } };
        // A password may also travel among the parameters; none of them is needed to recognise the server.
        let (rest, more) = rest.split_once('?').map_or((rest, ""), |(rest, _)| (rest, "?***"));
        let shown = match rest.rsplit_once('@') {
            Some((user, host)) => match user.split_once(':') {
                Some((name, _)) => format!("{name}:***@{host}"),
                None => format!("{user}@{host}"),
            },
            None => rest.to_owned(),
        };
        format!("{scheme}://{shown}{more}")
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl<'de> Deserialize<'de> for ServerUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let url = String::deserialize(deserializer)?;
        if url.is_empty() || url.split_once("://").is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty()) {
            return Ok(Self(url));
        }
        Err(serde::de::Error::custom("a URL like scheme://user:password@host:port/name is needed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        let url = |text: &str| ServerUrl::new(text).masked();
        assert_eq!(url("postgres://ann:planted@db:5432/x"), "postgres://ann:***@db:5432/x");
        assert_eq!(url("postgres://ann:pl@nted@db/x"), "postgres://ann:***@db/x");
        assert_eq!(url("redis://:planted@127.0.0.1:6379/"), "redis://:***@127.0.0.1:6379/");
        assert_eq!(url("postgres://db/x?user=ann&password=planted"), "postgres://db/x?***");
        assert_eq!(url("planted"), "***");
        assert_eq!(format!("{:?}", Secret::new("planted")), "***");
    }
}

//! `events!`: from a list of types to an aggregate's event enum.

/// Declares the event enum of an aggregate.
macro_rules! events {
    ($(#[$doc:meta])* $name:ident of $aggregate:literal in $topic:expr => { $($(#[$vdoc:meta])* $variant:ident($payload:ty) = $type:literal $version:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(tag = "type", content = "payload")]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $type)] $variant($payload),)+
        }

        impl cqrs_es::DomainEvent for $name {
            fn event_type(&self) -> String { $crate::Event::name(self).to_owned() }
            fn event_version(&self) -> String { $crate::Event::version(self).to_owned() }
        }

        impl $crate::Event for $name {
            const AGGREGATE: &'static str = $aggregate;
            const TOPIC: $crate::Topic = $topic;
            const TYPES: &'static [(&'static str, &'static str)] = &[$(($type, $version)),+];

            fn name(&self) -> &'static str { match self { $(Self::$variant(_) => $type,)+ } }
            fn version(&self) -> &'static str { match self { $(Self::$variant(_) => $version,)+ } }
            fn partition_key(&self) -> String { match self { $(Self::$variant(p) => $crate::Payload::partition_key(p),)+ } }
            fn names(&self) -> Vec<$crate::UserId> {
                match self { $(Self::$variant(p) => $crate::Payload::names(p),)+ }
            }
            fn personal(&mut self, visit: &mut dyn FnMut(&'static str, &mut $crate::Personal)) {
                match self { $(Self::$variant(p) => $crate::Payload::personal(p, visit),)+ }
            }
            fn payload(&self) -> Result<Box<serde_json::value::RawValue>, serde_json::Error> {
                match self { $(Self::$variant(p) => serde_json::value::to_raw_value(p),)+ }
            }
            fn decode(recorded: &$crate::Recorded) -> Result<Self, $crate::DecodeError> {
                let lifted = $crate::upcast::lift(recorded)?;
                let (version, payload) = match &lifted {
                    Some((version, payload)) => (version.as_str(), payload.get()),
                    None => (recorded.event_version.as_str(), recorded.payload.get()),
                };
                match (recorded.event_type.as_str(), version) {
                    $(($type, $version) => serde_json::from_str(payload).map(Self::$variant).map_err(|e| $crate::DecodeError::malformed(recorded, &e)),)+
                    _ => Err($crate::DecodeError::unknown(recorded)),
                }
            }
        }

        impl $name {
            /// Type, version and JSON Schema of each payload.
            pub fn schemas() -> Vec<(&'static str, &'static str, schemars::Schema)> {
                vec![$(($type, $version, schemars::schema_for!($payload))),+]
            }
        }
    };
}
pub(crate) use events;

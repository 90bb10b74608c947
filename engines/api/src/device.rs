//! The device that computes, and its name in options and files.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Where the computation of a session runs.
///
/// The text form is the one place for device names: [`Display`](fmt::Display) writes it, `From<&str>` reads it, and files contain it.
/// A GPU without a number is GPU 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum Device {
    /// The processor of this machine: `cpu`.
    #[default]
    Cpu,
    /// An NVIDIA GPU by its index: `cuda:0`.
    Cuda(usize),
    /// An Apple GPU by its index: `metal`, `metal:1`.
    Metal(usize),
    /// The unknown device of a server in another process: `server`.
    Server,
    /// A simulated machine on a virtual clock: `virtual`.
    Virtual,
    /// Any other name, such as a back end of another tool. Engines refuse it.
    Other(String),
}

impl Device {
    /// Whether another process computes, so that counters of this process do not measure it.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        *self == Self::Server
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.pad("cpu"),
            Self::Cuda(index) => f.pad(&format!("cuda:{index}")),
            Self::Metal(0) => f.pad("metal"),
            Self::Metal(index) => f.pad(&format!("metal:{index}")),
            Self::Server => f.pad("server"),
            Self::Virtual => f.pad("virtual"),
            Self::Other(name) => f.pad(name),
        }
    }
}

impl From<&str> for Device {
    fn from(name: &str) -> Self {
        let (kind, index) = name.split_once(':').unwrap_or((name, "0"));
        match (kind, index.parse()) {
            ("cuda", Ok(index)) => Self::Cuda(index),
            ("metal", Ok(index)) => Self::Metal(index),
            _ => match name {
                "cpu" => Self::Cpu,
                "server" => Self::Server,
                "virtual" => Self::Virtual,
                other => Self::Other(other.to_owned()),
            },
        }
    }
}

impl From<String> for Device {
    fn from(name: String) -> Self {
        Self::from(name.as_str())
    }
}

impl Serialize for Device {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Device {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back_as_the_same_device() {
        for (device, name) in [
            (Device::Cpu, "cpu"),
            (Device::Cuda(0), "cuda:0"),
            (Device::Cuda(3), "cuda:3"),
            (Device::Metal(0), "metal"),
            (Device::Metal(1), "metal:1"),
            (Device::Server, "server"),
            (Device::Virtual, "virtual"),
            (Device::Other("cpu or metal".to_owned()), "cpu or metal"),
            (Device::Other("cuda:x".to_owned()), "cuda:x"),
            (Device::Other(String::new()), ""),
        ] {
            assert_eq!(Device::from(name), device);
            assert_eq!(device.to_string(), name);
            let json = serde_json::to_string(&device).unwrap();
            assert_eq!(json, format!("{name:?}"));
            assert_eq!(serde_json::from_str::<Device>(&json).unwrap(), device);
        }
        assert_eq!((Device::from("cuda"), Device::from("metal:0")), (Device::Cuda(0), Device::Metal(0)));
        assert_eq!(format!("{:>6}|", Device::Cpu), "   cpu|", "tables can align it");
    }

    #[test]
    fn only_a_server_is_remote() {
        assert!(Device::from("server").is_remote());
        for name in ["cpu", "cuda:0", "metal", "virtual", "remote"] {
            assert!(!Device::from(name).is_remote(), "{name}");
        }
    }
}

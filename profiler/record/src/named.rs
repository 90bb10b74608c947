//! Closed sets of words: enumerations whose names are in one place.

/// Defines an enumeration with a name for each variant: the word in files, in reports and on the command line.
///
/// The enumeration has `ALL`, `name` and `of_name`, is shown as its name, and is written and read as its name.
macro_rules! named {
    (
        $(#[$attribute:meta])*
        $visibility:vis enum $set:ident {
            $($(#[$of_variant:meta])* $variant:ident = $name:literal,)+
        }
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        $visibility enum $set {
            $($(#[$of_variant])* #[serde(rename = $name)] $variant,)+
        }

        impl $set {
            /// Every variant.
            $visibility const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name in files and reports.
            #[must_use]
            $visibility const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// The variant of a name; `None` for another word.
            #[must_use]
            $visibility fn of_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.name() == name)
            }
        }

        impl std::fmt::Display for $set {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }
    };
}
pub(crate) use named;

#[cfg(test)]
mod tests {
    named! {
        /// A set.
        enum Set {
            /// One.
            One = "one",
            /// Two.
            TwoWords = "two-words",
        }
    }

    #[test]
    fn the_name_is_in_one_place() {
        assert_eq!(Set::ALL, [Set::One, Set::TwoWords]);
        for &one in Set::ALL {
            assert_eq!(serde_json::to_value(one).unwrap(), one.name());
            assert_eq!(serde_json::from_value::<Set>(one.name().into()).unwrap(), one);
            assert_eq!((Set::of_name(one.name()), format!("{one:>10}").trim()), (Some(one), one.name()));
        }
        assert_eq!(Set::of_name("three"), None);
        assert!(serde_json::from_str::<Set>("\"three\"").is_err());
    }
}

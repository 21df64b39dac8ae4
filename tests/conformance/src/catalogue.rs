//! What the suite consists of, as its own code lists it. Pure.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::ConformanceError;

/// What tests/go/conformance/catalogue prints.
#[derive(Debug, Deserialize)]
pub struct Catalogue {
    /// The Gateway API release that it judges: `v1.6.3`.
    pub version: String,
    /// In the order of their runs.
    pub tests: Vec<Test>,
    pub profiles: Vec<Profile>,
    /// That its manifests ask for.
    pub images: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub struct Test {
    pub name: String,
    /// It runs when all of them are claimed.
    pub features: BTreeSet<String>,
}

/// A set of features that is judged, and published, as one (GEP-1709).
#[derive(Debug, Deserialize)]
pub struct Profile {
    pub name: String,
    pub core: BTreeSet<String>,
    pub extended: BTreeSet<String>,
}

impl Catalogue {
    pub fn parse(json: &str) -> Result<Self, ConformanceError> {
        serde_json::from_str(json).map_err(|error| ConformanceError::Catalogue(error.to_string()))
    }

    pub fn test(&self, name: &str) -> Result<&Test, ConformanceError> {
        let found = self.tests.iter().find(|test| test.name == name);
        found.ok_or_else(|| {
            let alike = self.tests.iter().map(|test| test.name.as_str());
            let alike: Vec<_> = alike.filter(|known| is_alike(known, name)).collect();
            ConformanceError::NoSuchTest { name: name.to_owned(), alike: alike.join(", ") }
        })
    }

    pub fn profile(&self, name: &str) -> Result<&Profile, ConformanceError> {
        let found = self.profiles.iter().find(|profile| profile.name == name);
        found.ok_or_else(|| {
            let known: Vec<_> = self.profiles.iter().map(|profile| profile.name.as_str()).collect();
            ConformanceError::NoSuchProfile { name: name.to_owned(), known: known.join(", ") }
        })
    }

    /// The tests that count in `profile` when all of its features but `unsupported` are claimed.
    pub fn tests_of<'a>(
        &'a self,
        profile: &'a Profile,
        unsupported: &'a BTreeSet<String>,
    ) -> impl Iterator<Item = &'a Test> {
        self.tests.iter().filter(move |test| profile.has(test) && test.features.is_disjoint(unsupported))
    }

    /// The profiles in which a test counts. The report leaves out tests that count in none.
    pub fn profiles_of<'a>(&'a self, test: &'a Test) -> impl Iterator<Item = &'a Profile> {
        self.profiles.iter().filter(|profile| profile.has(test))
    }

    pub fn is_in_a_profile(&self, test: &str) -> bool {
        self.test(test).is_ok_and(|test| self.profiles_of(test).next().is_some())
    }
}

impl Profile {
    fn has(&self, test: &Test) -> bool {
        test.features.iter().all(|feature| self.core.contains(feature) || self.extended.contains(feature))
    }
}

fn is_alike(known: &str, name: &str) -> bool {
    let (known, name) = (known.to_lowercase(), name.to_lowercase());
    known.contains(&name) || name.contains(&known)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Two profiles that share a test, and a test in none.
    pub(crate) fn catalogue() -> Catalogue {
        let json = r#"{
            "version": "v1.6.3",
            "tests": [
                {"name": "GatewayBasic", "features": ["Gateway"]},
                {"name": "TCPBasic", "features": ["Gateway", "TCPRoute"]},
                {"name": "TCPPort", "features": ["Gateway", "TCPRoute", "GatewayPort8080"]},
                {"name": "UDPBasic", "features": ["Gateway", "UDPRoute"]},
                {"name": "Disallowed", "features": ["Gateway", "TCPRoute", "UDPRoute"]}
            ],
            "profiles": [
                {"name": "GATEWAY-TCP", "core": ["Gateway", "TCPRoute"], "extended": ["GatewayPort8080"]},
                {"name": "GATEWAY-UDP", "core": ["Gateway", "UDPRoute"], "extended": ["GatewayPort8080"]}
            ],
            "images": []
        }"#;
        Catalogue::parse(json).expect("a catalogue")
    }

    #[test]
    fn tests_count_by_their_features() {
        let catalogue = catalogue();
        for (profile, unsupported, tests) in [
            ("GATEWAY-TCP", &[][..], &["GatewayBasic", "TCPBasic", "TCPPort"][..]),
            ("GATEWAY-TCP", &["GatewayPort8080"], &["GatewayBasic", "TCPBasic"]),
            ("GATEWAY-UDP", &[], &["GatewayBasic", "UDPBasic"]),
        ] {
            let unsupported = unsupported.iter().map(|name| (*name).to_owned()).collect();
            let profile = catalogue.profile(profile).expect("a profile");
            let counted = catalogue.tests_of(profile, &unsupported).map(|test| test.name.as_str());
            assert_eq!(counted.collect::<Vec<_>>(), tests, "{} without {unsupported:?}", profile.name);
        }
        assert!(catalogue.is_in_a_profile("UDPBasic"));
        assert!(!catalogue.is_in_a_profile("Disallowed"));
    }

    #[test]
    fn unknown_names_are_answered_with_known_ones() {
        let catalogue = catalogue();
        let test = catalogue.test("tcp").expect_err("no test").to_string();
        assert!(test.contains("TCPBasic, TCPPort"), "{test}");
        let profile = catalogue.profile("HTTP").expect_err("no profile").to_string();
        assert!(profile.contains("GATEWAY-TCP, GATEWAY-UDP"), "{profile}");
    }
}

//! Devices that settings leave alone.

use gateway_agent_api::own::gateway_config::GatewayConfigSpec;
use glob::Pattern;

use super::Attachable;

/// Names, and patterns of names.
#[derive(Clone, Debug, Default)]
pub struct Excluded(Vec<Pattern>);

impl Excluded {
    /// What is no pattern, such as a single `[`, is a name.
    pub fn of(settings: &GatewayConfigSpec) -> Self {
        let names = settings.devices.iter().flat_map(|devices| devices.exclude.iter().flatten());
        let pattern = |name: &String| Pattern::new(name).or_else(|_| Pattern::new(&Pattern::escape(name)));
        Self(names.filter_map(|name| pattern(name).ok()).collect())
    }

    /// The others.
    pub fn left<'a>(&self, devices: &'a [Attachable]) -> impl Iterator<Item = &'a Attachable> {
        devices.iter().filter(|device| !self.0.iter().any(|pattern| pattern.matches(&device.device.name)))
    }
}

#[cfg(test)]
mod tests {
    use gateway_agent_kernel::{Device, DeviceKind};

    use super::*;

    #[test]
    fn names_and_patterns_are_left_out() {
        let device = |name: &str| Attachable {
            device: Device {
                ifindex: 1,
                name: name.to_owned(),
                l3_ifindex: 1,
                mac: [0; 6],
                kind: DeviceKind::Ordinary,
                source_v4: None,
                source_v6: None,
            },
            l3_name: name.to_owned(),
            has_v4: true,
            has_v6: false,
        };
        let devices = ["eth0", "docker0", "docker1", "wg0", "["].map(device);
        let settings = |exclude: serde_json::Value| {
            serde_json::from_value(serde_json::json!({ "devices": { "exclude": exclude } }))
                .expect("settings")
        };
        for (exclude, left) in [
            (serde_json::json!([]), &["eth0", "docker0", "docker1", "wg0", "["][..]),
            (serde_json::json!(["docker*", "wg0", "["]), &["eth0"]),
            (serde_json::json!(["eth?", "nothing"]), &["docker0", "docker1", "wg0", "["]),
        ] {
            let excluded = Excluded::of(&settings(exclude));
            let found: Vec<_> = excluded.left(&devices).map(|it| it.device.name.as_str()).collect();
            assert_eq!(found, left);
        }
    }
}

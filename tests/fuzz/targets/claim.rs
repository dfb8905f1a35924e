//! Any text as a record of the directory, a GUID, an instance's name.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mps_gateway_fuzz::model::{Claim, DeviceId, Endpoint, InstanceName, ReplicaId};

fuzz_target!(|text: &str| {
    if let Ok(claim) = text.parse::<Claim>() {
        assert_eq!(claim.to_string().parse().as_ref(), Ok(&claim), "what is read is written alike");
    }
    if let Ok(device) = text.parse::<DeviceId>() {
        assert_eq!(device.to_string(), text.to_ascii_lowercase());
        assert_eq!(DeviceId::from_wire(device.to_wire()), device);
    }
    if let Ok(replica) = text.parse::<ReplicaId>() {
        assert_eq!(replica.as_str(), text);
    }
    if let Ok(name) = text.parse::<InstanceName>() {
        assert_eq!(name.to_string(), text);
    }
    if let Ok(endpoint) = text.parse::<Endpoint>() {
        assert_eq!(endpoint.to_string().parse(), Ok(endpoint));
    }
});

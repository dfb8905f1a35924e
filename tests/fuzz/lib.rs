//! The pure modules of the gateway, compiled alone for the fuzz targets.

#[path = "../../src/model/mod.rs"]
pub mod model;

#[path = "../../src/wire/mod.rs"]
pub mod wire;

#[path = "."]
pub mod device {
    #[path = "../../src/device/guard/mod.rs"]
    pub mod guard;

    #[path = "../../src/device/settings.rs"]
    pub mod settings;
}

#[path = "."]
pub mod net {
    #[path = "../../src/net/network.rs"]
    pub mod network;

    pub mod relay {
        /// The trait of the real relay, which needs sockets.
        pub trait Watch {
            type Refusal;
            fn device_bytes(&mut self, chunk: &[u8]) -> Result<(), Self::Refusal>;
        }
    }
}

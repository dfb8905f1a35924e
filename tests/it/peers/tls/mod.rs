//! TLS clients nobody here wrote, against the device plane of a gateway that runs as a process.
//!
//! Each has another way of being wrong: OpenSSL is what most devices' makers test with, sslscan asks
//! what nobody should be granted, tlslite-ng says what no library would let you say.

mod hellos;
mod house;
mod openssl;
mod s_client;
mod scan;

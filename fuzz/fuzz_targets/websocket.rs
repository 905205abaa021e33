#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| linkspan_daemon::fuzz::websocket_session(data));

//! The code that is generated is what a compiler makes of the `.proto` files now. With `UPDATE_EXPECT` in the environment it
//! is written anew.

use std::{env, fs, path::Path};

#[test]
fn generated_code_is_what_the_proto_files_say() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = protox::compile(["tempopb/tempo.proto"], [package.join("proto")]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    tonic_prost_build::configure()
        .build_client(false)
        // OTLP's own messages are the same on the wire.
        .extern_path(
            ".tempopb.common.v1",
            "::opentelemetry_proto::tonic::common::v1",
        )
        .out_dir(folder.path())
        .compile_fds(files)
        .unwrap();
    let fresh = fs::read_to_string(folder.path().join("tempopb.rs")).unwrap();
    let kept = package.join("src/api/streaming/tempopb.rs");
    if env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&kept, &fresh).unwrap();
    }
    assert!(
        fs::read_to_string(&kept).unwrap() == fresh,
        "{} is not what proto/ says: UPDATE_EXPECT=1 writes it anew",
        kept.display()
    );
}

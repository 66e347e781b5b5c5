//! How the shared library is linked: its soname or install name, and pages of 16 KiB, which Android
//! asks for; for WebAssembly, a table that the host may put callbacks into.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let os = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    let link = |argument: &str| println!("cargo:rustc-cdylib-link-arg=-Wl,{argument}");
    if os == "linux" || os == "android" {
        link("-z,max-page-size=16384");
    }
    if std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "wasm32") {
        for argument in ["--export-table", "--growable-table", "-zstack-size=2097152"] {
            println!("cargo:rustc-cdylib-link-arg={argument}");
        }
    }
    // The number is the ABI version. Android loads libraries by their file name, and cargo-c names
    // the library itself.
    if std::env::var_os("CARGO_FEATURE_CAPI").is_none() {
        match os.as_str() {
            "linux" => link("-soname,libollm.so.1"),
            "macos" => link("-install_name,@rpath/libollm.1.dylib"),
            _ => {}
        }
    }
}

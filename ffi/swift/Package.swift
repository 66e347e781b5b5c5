// swift-tools-version:5.7
// The C library is found by pkg-config (`make install-library`), or, on Apple's systems, is an
// XCFramework: see ../PACKAGING.md.
import PackageDescription

let package = Package(
    name: "Ollm",
    products: [.library(name: "Ollm", targets: ["Ollm"])],
    targets: [
        .systemLibrary(name: "COllm", pkgConfig: "ollm"),
        .target(name: "Ollm", dependencies: ["COllm"]),
        .executableTarget(name: "OllmCheck", dependencies: ["Ollm"]),
    ]
)

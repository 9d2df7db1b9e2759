// Finds node-llama-cpp and the prebuilt llama.cpp libraries of this platform, and prints them as JSON for
// cmake/LlamaCpp.cmake. Runs at configure time only; imports nothing, so that it works before anything is built.
//
//   node cmake/locate.mjs [start-directory]
import {existsSync, readFileSync, readdirSync, realpathSync} from "node:fs";
import path from "node:path";
import process from "node:process";
import {fileURLToPath} from "node:url";

const root = process.argv[2] ?? path.dirname(path.dirname(fileURLToPath(import.meta.url)));

/** Directory of an installed package, as Node would resolve it from `from`; undefined when it is not installed.
 *  Walks node_modules because the platform packages' "exports" hide their package.json from `require.resolve`. */
function packageDirectory(name, from) {
    for (let directory = from; ; directory = path.dirname(directory)) {
        const candidate = path.join(directory, "node_modules", name);
        if (existsSync(path.join(candidate, "package.json"))) return realpathSync(candidate);
        if (path.dirname(directory) === directory) return undefined;
    }
}

const readJson = (...parts) => JSON.parse(readFileSync(path.join(...parts), "utf8"));

/** Names under @node-llama-cpp that hold CPU libraries for this machine, best first. */
function platformNames() {
    const os = {linux: "linux", darwin: "mac", win32: "win"}[process.platform] ?? process.platform;
    const arch = {arm: "armv7l"}[process.arch] ?? process.arch;
    return [`${os}-${arch}`, `${os}-${arch}-metal`];
}

/** The three libraries to link in `directory`, or undefined when one of them (or its import library) is missing.
 *  Their names carry the release: libllama.v0.5.0.so, libggml.v0.5.0.so, libggml-base.so. */
function linkLibraries(directory) {
    const files = readdirSync(directory);
    const find = (stem) => files.find((file) => new RegExp(`^lib${stem}(\\.[a-z]+)?(\\.v[^/]+)?\\.(so|dylib)$`).test(file));
    const [llama, ggml, base] = [find("llama"), find("ggml"), find("ggml-base")];
    if (llama === undefined || ggml === undefined || base === undefined) return undefined;
    return {
        llama: path.join(directory, llama),
        ggml: path.join(directory, ggml),
        base: path.join(directory, base),
        soRelease: /\.(v\d[^/]*)\.(?:so|dylib)$/.exec(llama)?.[1] ?? ""
    };
}

/** Prebuilt CPU libraries of this platform, or undefined (then llama.cpp is built from source). */
function findPrebuilt(from) {
    for (const name of platformNames()) {
        const packageDir = packageDirectory(`@node-llama-cpp/${name}`, from);
        if (packageDir === undefined) continue;
        const directory = path.join(packageDir, "bins", name);
        const libraries = existsSync(directory) ? linkLibraries(directory) : undefined;
        if (libraries === undefined) continue;
        return {
            name,
            directory,
            ...libraries,
            packageVersion: readJson(packageDir, "package.json").version,
            release: readJson(directory, "_nlcBuildMetadata.json").buildOptions.llamaCpp.release
        };
    }
    return undefined;
}

/** Folders with GPU plugins (libggml-cuda, libggml-vulkan) that fit the CPU libraries: all of one release share one
 *  libggml-base, so a plugin of a sibling package can be loaded into a process that links the CPU package. */
function findGpuPlugins(from, release) {
    const found = {};
    for (const gpu of ["cuda", "vulkan"]) {
        const name = `${platformNames()[0]}-${gpu}`;
        const packageDir = packageDirectory(`@node-llama-cpp/${name}`, from);
        const directory = packageDir && path.join(packageDir, "bins", name);
        if (directory === undefined || !existsSync(path.join(directory, "_nlcBuildMetadata.json"))) continue;
        if (readJson(directory, "_nlcBuildMetadata.json").buildOptions.llamaCpp.release !== release) continue;
        const plugin = readdirSync(directory).find((file) => new RegExp(`^(lib)?ggml-${gpu}\\.(so|dylib|dll)$`).test(file));
        if (plugin !== undefined) found[gpu] = path.join(directory, plugin);
    }
    return found;
}

const nodeLlamaCpp = packageDirectory("node-llama-cpp", root);
if (nodeLlamaCpp === undefined) {
    console.error(`node-llama-cpp is not installed under ${root}: run "npm ci" first`);
    process.exit(1);
}

const prebuilt = findPrebuilt(nodeLlamaCpp);
console.log(JSON.stringify({
    version: readJson(nodeLlamaCpp, "package.json").version,
    bundle: path.join(nodeLlamaCpp, "llama", "gitRelease.bundle"),
    release: readJson(nodeLlamaCpp, "llama", "binariesGithubRelease.json").release,
    bundleRelease: readJson(nodeLlamaCpp, "llama", "llama.cpp.info.json").tag,
    prebuilt: prebuilt ?? null,
    plugins: prebuilt === undefined ? {} : findGpuPlugins(nodeLlamaCpp, prebuilt.release)
}, null, 2));

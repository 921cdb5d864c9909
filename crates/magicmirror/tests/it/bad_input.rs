//! Everything that can be wrong with what a user gives: one clear message, a hint, and nothing is written.

use std::fs;
use std::process::Command;

use burn::tensor::TensorData;
use image::codecs::gif::GifEncoder;
use image::{Frame, Rgb, RgbImage};
use magicmirror_testkit::golden;
use serde_json::json;

use crate::lab::{Lab, Ran, generate};

/// A run that must be refused.
struct Case {
    name: &'static str,
    args: Vec<String>,
    /// Parts of the message, hint included.
    says: &'static [&'static str],
}

fn case(name: &'static str, changes: &[&str], says: &'static [&'static str]) -> Case {
    Case { name, args: generate(changes), says }
}

fn command(name: &'static str, args: &[&str], says: &'static [&'static str]) -> Case {
    Case { name, args: args.iter().map(|arg| (*arg).to_owned()).collect(), says }
}

fn check(lab: &Lab, cases: &[Case]) {
    let mut found = Vec::new();
    for Case { name, args, says } in cases {
        let ran = lab.run(args);
        let mut problems: Vec<String> = says
            .iter()
            .filter(|part| !ran.stderr.contains(**part))
            .map(|part| format!("does not say {part:?}"))
            .collect();
        if ran.code != Some(2) {
            problems.push(format!("exit code {:?}", ran.code));
        }
        if ran.stderr.lines().filter(|line| line.starts_with("error:")).count() != 1 || ran.stderr.contains("panicked")
        {
            problems.push("not one message".into());
        }
        // What can be known beforehand is said before hours of work.
        if ran.stderr.contains("denoising") {
            problems.push("says so late".into());
        }
        for folder in ["out", "tmp"] {
            let left = lab.names_in(folder);
            if !left.is_empty() {
                problems.push(format!("leaves {left:?} in {folder}"));
            }
        }
        if !problems.is_empty() {
            found.push(format!("{name}: {}\n{}", problems.join(", "), ran.stderr));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn backbones_that_cannot_be_used() {
    let lab = Lab::new();
    fs::create_dir(lab.path("empty")).unwrap();
    for copy in ["layers", "width", "index", "tensors", "cut", "corrupt", "json", "rgb", "ratio", "token", "method"] {
        lab.copy("backbone", copy);
    }
    lab.edit_json("layers/transformer/config.json", |config| config["num_layers"] = json!(3));
    lab.edit_json("width/text_encoder/config.json", |config| config["d_model"] = json!(48));
    lab.edit_json("index/model_index.json", |index| index["_class_name"] = json!("CogVideoXImageToVideoPipeline"));
    lab.edit_json("rgb/vae/config.json", |config| config["out_channels"] = json!(4));
    lab.edit_json("ratio/vae/config.json", |config| config["temporal_compression_ratio"] = json!(8));
    lab.edit_json("method/scheduler/scheduler_config.json", |config| config["prediction_type"] = json!("epsilon"));
    fs::remove_file(lab.path("token/tokenizer/tokenizer.json")).unwrap();
    lab.edit_tensors("tensors/transformer/diffusion_pytorch_model.safetensors", |tensors| {
        tensors.retain(|(name, _)| name != "proj_out.bias");
        tensors.push(("stowaway".into(), TensorData::new(vec![0f32; 6], [2, 3])));
        let (_, data) = tensors.iter_mut().find(|(name, _)| name == "norm_final.weight").unwrap();
        *data = TensorData::new(vec![1f32; 7], [7]);
    });
    let weights = fs::read(lab.path("backbone/vae/diffusion_pytorch_model.safetensors")).unwrap();
    fs::write(lab.path("cut/vae/diffusion_pytorch_model.safetensors"), &weights[..weights.len() / 2]).unwrap();
    let mut corrupt = weights.clone();
    corrupt[9] = b'!';
    fs::write(lab.path("corrupt/vae/diffusion_pytorch_model.safetensors"), corrupt).unwrap();
    fs::write(lab.path("json/vae/config.json"), "{\"in_channels\": 3,").unwrap();
    let refused = |name, folder, says| case(name, &["--backbone", folder], says);
    let cases = [
        refused("no folder", "nowhere", &["there is no such folder", "nowhere", "hint: give the folder that holds"]),
        refused("no parts", "empty", &["it lacks model_index.json, transformer/config.json", "hint: "]),
        refused("another pipeline", "index", &["CogVideoXImageToVideoPipeline", "hint: "]),
        refused(
            "configuration with fewer blocks",
            "layers",
            &["do not fit the configuration", "unexpected transformer_blocks.3."],
        ),
        refused("text encoder of another width", "width", &["do not fit together", "48 channels", "takes 32"]),
        refused("decoder of more than RGB", "rgb", &["gives 4 channels"]),
        refused("another temporal compression", "ratio", &["8 frames", "reckons with 4"]),
        refused("another prediction", "method", &["prediction_type = epsilon", "hint: "]),
        refused("no tokenizer", "token", &["no tokenizer found", "spiece.model"]),
        refused(
            "tensors missing, extra and mis-shaped",
            "tensors",
            &[
                "missing    proj_out.bias [32]",
                "unexpected stowaway [2, 3]",
                "mis-shaped norm_final.weight: expected [64], found [7]",
            ],
        ),
        refused("truncated weights", "cut", &["its header promises", "truncated download?", "cut/vae"]),
        refused("corrupt weights", "corrupt", &["not a valid file", "corrupt/vae"]),
        refused("broken JSON", "json", &["not a valid VAE configuration", "json/vae/config.json"]),
    ];
    check(&lab, &cases);
}

#[test]
fn adapters_and_identities_that_cannot_be_used() {
    let lab = Lab::new();
    lab.copy("adapter", "broken");
    lab.edit_tensors("broken/model.safetensors", |tensors| {
        tensors.retain(|(name, _)| name != "face_proj.bias");
        tensors.push(("stowaway".into(), TensorData::new(vec![0f32; 2], [2])));
    });
    lab.write_identity("wide.safetensors", 1, [512, 1024]);
    lab.write_identity("crowd.safetensors", 30, [128, 32]);
    lab.write_tensors("half.safetensors", &[("id_embeds".into(), TensorData::new(vec![0f32; 128], [1, 128]))]);
    lab.edit_tensors("person.safetensors", |_| ());
    lab.copy("adapter", "nan");
    fs::copy(lab.path("person.safetensors"), lab.path("nan.safetensors")).unwrap();
    lab.edit_tensors("nan.safetensors", |tensors| {
        let (_, data) = tensors.iter_mut().find(|(name, _)| name == "id_embeds").unwrap();
        *data = TensorData::new(vec![f32::NAN; 128], [1, 128]);
    });
    let stranger = golden("adapter/three_references/adapter");
    let stranger = stranger.to_str().unwrap();
    let identity = ["--adapter", "adapter", "--identity", "person.safetensors"];
    let with = |name, changes: &[&str], says| case(name, &[&identity[..], changes].concat(), says);
    let long = "walking ".repeat(60);
    let cases = [
        case("adapter alone", &["--adapter", "adapter"], &["an adapter needs", "--reference", "--identity"]),
        case("identity alone", &["--identity", "person.safetensors"], &["needs an adapter", "--adapter DIR"]),
        case("reference alone", &["--reference", "astronaut.png"], &["needs an adapter", "--reference and --identity"]),
        case(
            "reference and identity",
            &["--adapter", "adapter", "--identity", "person.safetensors", "--reference", "astronaut.png"],
            &["--reference and --identity", "hint: leave one of them out"],
        ),
        case(
            "adapter without backbone",
            &["--backbone", "-", "--adapter", "adapter"],
            &["--adapter without --backbone"],
        ),
        case(
            "adapter of another backbone",
            &["--adapter", stranger, "--identity", "person.safetensors"],
            &["made for another backbone", "attention heads: adapter 2, backbone 4", "text embedding width"],
        ),
        case(
            "tensors of the adapter",
            &["--adapter", "broken", "--identity", "person.safetensors"],
            &["missing    face_proj.bias [64]", "unexpected stowaway [2]"],
        ),
        case("no adapter", &["--adapter", "nowhere", "--identity", "person.safetensors"], &["nowhere"]),
        case("no identity", &["--adapter", "adapter", "--identity", "nobody.safetensors"], &["nobody.safetensors"]),
        case(
            "identity of other encoders",
            &["--adapter", "adapter", "--identity", "wide.safetensors"],
            &["reads width 128, found 512", "reads width 32, found 1024", "hint: "],
        ),
        case(
            "half an identity",
            &["--adapter", "adapter", "--identity", "half.safetensors"],
            &["missing vision_last", "missing vision_penultimate", "hint: "],
        ),
        case(
            "identity of NaN",
            &["--adapter", "adapter", "--identity", "nan.safetensors"],
            &["id_embeds holds values that are not finite"],
        ),
        case(
            "more references than tokens",
            &["--adapter", "adapter", "--identity", "crowd.safetensors"],
            &["too many references", "hint: give fewer references"],
        ),
        with(
            "no class word",
            &["--prompt", "a dog in the park"],
            &["no word for the person", "a dog in the park", "hint: write the person"],
        ),
        with("trigger twice", &["--prompt", "a man img and a woman img"], &["may stand once", "2 times", "hint: "]),
        with("trigger first", &["--prompt", "img walking"], &["first word of the prompt", "hint: "]),
        with(
            "class word cut off",
            &["--prompt", &format!("{long}man img")],
            &["the prompt is too long", "\"man\"", "hint: cut the first"],
        ),
    ];
    check(&lab, &cases);
}

#[test]
fn numbers_out_of_range() {
    let lab = Lab::new();
    let refused = |name, changes, says| case(name, changes, says);
    let v15 = golden("backbone/v15_ddim");
    let other = golden("mobilefacenet_tiny.safetensors");
    let two = ["--candidates", "2", "--adapter", "adapter", "--identity", "person.safetensors"];
    let cases = [
        refused("height", &["--height", "30"], &["--height is 30", "multiple of 16", "hint: the nearest is 32"]),
        refused("width", &["--width", "0"], &["--width is 0", "hint: the nearest is 16"]),
        refused("far too wide", &["--width", "99999"], &["--width is 99999", "hint: the nearest is 8192"]),
        refused("frames 6", &["--frames", "6"], &["--frames is 6", "4k + 1", "hint: the nearest is 5"]),
        refused("frames 8", &["--frames", "8"], &["hint: the nearest is 9"]),
        refused("frames 0", &["--frames", "0"], &["hint: the nearest is 1"]),
        refused("far too many frames", &["--frames", "5000"], &["hint: the nearest is 4097"]),
        refused("tiles", &["--vae-tiling", "on"], &["tiles of 48×72 pixels do not fit together", "hint: "]),
        case(
            "larger than the positions of 1.5",
            &["--backbone", v15.to_str().unwrap(), "--height", "128"],
            &["cannot make 16×6 latents", "its positions end at"],
        ),
        refused(
            "more than fits into memory",
            &["--height", "8192", "--width", "8192", "--frames", "4097", "--output", "out/video.webp"],
            &["not enough memory: ", " needed for decoder, ", "transformer", "hint: use a smaller --height"],
        ),
        refused("no steps", &["--steps", "0"], &["--steps is 0", "1 to 1000"]),
        refused("too many steps", &["--steps", "1001"], &["--steps is 1001", "1 to 1000"]),
        refused("guidance NaN", &["--guidance", "NaN"], &["--guidance is NaN", "hint: "]),
        refused("guidance below 0", &["--guidance", "-1"], &["--guidance is -1", "0 to 100"]),
        refused("guidance infinite", &["--guidance", "inf"], &["--guidance is inf"]),
        refused("face scale", &["--face-scale", "-1"], &["--face-scale is -1", "0 to 10"]),
        refused("candidates", &["--candidates", "0"], &["--candidates is 0", "1 to 100"]),
        refused("candidates of nobody", &["--candidates", "2"], &["--candidates 2, but nobody", "--reference"]),
        refused(
            "candidates judged by another recogniser",
            &[&two[..], &["--recogniser", other.to_str().unwrap()]].concat(),
            &["its vectors have 128 numbers, those of mobilefacenet have ", "--recogniser"],
        ),
        refused(
            "candidates from one noise",
            &[&two[..], &["--latents", "n.safetensors"]].concat(),
            &["would start from the same noise"],
        ),
        refused("no such block", &["--skip-guidance", "1", "--skip-blocks", "1,99"], &["--skip-blocks is 99", "0 to "]),
        refused("no block", &["--skip-guidance", "1"], &["--skip-guidance and --skip-blocks go together"]),
        refused("blocks for nothing", &["--skip-blocks", "1"], &["--skip-guidance and --skip-blocks go together"]),
        refused("fps", &["--fps", "0"], &["--fps is 0"]),
        refused("fps below 0", &["--fps", "-8"], &["--fps is -8"]),
        refused("no prompt", &["--prompt", ""], &["the prompt is empty", "--prompt"]),
        refused("blank prompt", &["--prompt", " \n"], &["the prompt is empty"]),
        refused("no number", &["--steps", "many"], &["invalid value 'many'"]),
        refused("no device", &["--device", "abacus"], &["no such device: abacus", "cpu, cuda"]),
        #[cfg(not(feature = "cuda"))]
        refused("device not built in", &["--device", "cuda:1"], &["without support for: cuda", "--features cuda"]),
        command(
            "smallest face",
            &["identity", "faces", "astronaut.png", "--min-face", "3"],
            &["--min-face is 3", "12 or more"],
        ),
    ];
    check(&lab, &cases);
}

/// One frame of the largest size: also where tiles cannot help, because this model's do not fit together.
#[test]
#[cfg(target_os = "linux")]
fn more_than_the_process_may_have() {
    let lab = Lab::new();
    let run = |size: &str| {
        let program = lab.command(&generate(&[
            "--height",
            size,
            "--width",
            size,
            "--frames",
            "1",
            "--steps",
            "1",
            "--output",
            "out/i.png",
        ]));
        let mut limited = Command::new("sh");
        limited.args(["-c", "ulimit -v 3000000 && exec \"$@\"", "sh"]).arg(program.get_program());
        limited.args(program.get_args()).current_dir(program.get_current_dir().unwrap());
        Ran::from(limited.env("RAYON_NUM_THREADS", "2").output().unwrap())
    };
    let ran = run("8192");
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    for part in ["not enough memory: ", " needed for decoder, ", " available", "hint: use a smaller --height"] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    let ran = run("32");
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}

#[test]
fn outputs_that_cannot_be_written() {
    let lab = Lab::new();
    fs::write(lab.path("file.txt"), "kept").unwrap();
    fs::create_dir_all(lab.path("folder.mp4")).unwrap();
    fs::create_dir_all(lab.path("report.mp4.json")).unwrap();
    fs::create_dir_all(lab.path("mine")).unwrap();
    fs::write(lab.path("mine/diary.txt"), "kept").unwrap();
    let refused = |name, path, says| case(name, &["--output", path], says);
    let cases = [
        refused("below a file", "file.txt/video.mp4", &["not a folder", "file.txt"]),
        refused("a folder", "folder.mp4", &["there is a folder at: folder.mp4", "hint: "]),
        refused("a folder where the report goes", "report.mp4", &["report.mp4.json"]),
        refused("folder in use", "mine", &["diary.txt", "hint: choose another folder"]),
        refused("file as a folder", "file.txt", &["`txt`", "hint: use .mp4"]),
        refused("unknown extension", "out/video.avi", &["`avi`", "hint: use .mp4"]),
        refused("no name", "..", &["not a file or folder name"]),
        refused("one image of five frames", "out/image.png", &["holds 1 frame, not 5", "hint: use .mp4"]),
        case("tensors below a file", &["--tensors", "file.txt/tensors"], &["file.txt/tensors"]),
        case("tensors where a folder is", &["--tensors", "mine"], &["it is a folder", "mine"]),
        command(
            "identity below a file",
            &["identity", "encode", "--reference", "astronaut.png", "--adapter", "adapter", "--output", "file.txt/id"],
            &["file.txt/id"],
        ),
        command(
            "latents below a file",
            &["latents", "--backbone", "backbone", "--input", "none.safetensors", "--output", "file.txt/latents"],
            &["file.txt/latents"],
        ),
    ];
    check(&lab, &cases);
    assert_eq!(fs::read_to_string(lab.path("file.txt")).unwrap(), "kept");
    assert_eq!(lab.names_in("mine"), ["diary.txt"]);
}

#[test]
fn noise_and_frames_that_do_not_fit() {
    let lab = Lab::new();
    let latents = |value: f32, shape: [usize; 5]| {
        ("latents".to_owned(), TensorData::new(vec![value; shape.iter().product()], shape))
    };
    lab.write_tensors("shape.safetensors", &[latents(0.0, [1, 2, 8, 4, 5])]);
    lab.write_tensors("nan.safetensors", &[latents(f32::NAN, [1, 2, 8, 4, 6])]);
    lab.write_tensors("none.safetensors", &[("noise".to_owned(), TensorData::new(vec![0f32], [1]))]);
    let noise = ("sde_noise".to_owned(), TensorData::new(vec![0f32; 384], [1, 1, 2, 8, 4, 6]));
    lab.write_tensors("steps.safetensors", &[latents(0.0, [1, 2, 8, 4, 6]), noise]);
    lab.write_tensors("flat.safetensors", &[("frames".to_owned(), TensorData::new(vec![0f32; 9], [3, 3]))]);
    lab.write_tensors(
        "odd.safetensors",
        &[("frames".to_owned(), TensorData::new(vec![0f32; 9 * 9 * 3], [1, 3, 9, 9]))],
    );
    fs::write(lab.path("text.safetensors"), "not weights").unwrap();
    let refused = |name, file, says| case(name, &["--latents", file], says);
    let encode = |name, input, says| {
        command(
            name,
            &["latents", "--backbone", "backbone", "--output", "out/latents.safetensors", "--input", input],
            says,
        )
    };
    let cases = [
        refused("no file", "nowhere.safetensors", &["nowhere.safetensors"]),
        refused("no weights", "text.safetensors", &["not a valid file", "text.safetensors"]),
        refused("no latents", "none.safetensors", &["no tensor named latents"]),
        refused("latents of another size", "shape.safetensors", &["[1, 2, 8, 4, 5]", "needs [1, 2, 8, 4, 6]"]),
        refused("noise of fewer steps", "steps.safetensors", &["[1, 1, 2, 8, 4, 6]", "needs [2, 1, 2, 8, 4, 6]"]),
        refused("latents of NaN", "nan.safetensors", &["no longer finite at step 1 of 2", "hint: "]),
        encode("no frames", "none.safetensors", &["no tensor named frames"]),
        encode("flat frames", "flat.safetensors", &["[3, 3]", "[frames, 3, height, width]"]),
        encode("odd frames", "odd.safetensors", &["[1, 3, 1, 9, 9]"]),
        encode("no file to encode", "nowhere.safetensors", &["nowhere.safetensors"]),
    ];
    check(&lab, &cases);
}

#[test]
fn photos_that_cannot_be_used() {
    let lab = Lab::new();
    RgbImage::from_pixel(96, 96, Rgb([120, 130, 140])).save(lab.path("blank.png")).unwrap();
    fs::write(lab.path("text.png"), "no image").unwrap();
    let photo = fs::read(lab.path("astronaut.png")).unwrap();
    fs::write(lab.path("cut.png"), &photo[..photo.len() / 2]).unwrap();
    let frame = |value| Frame::new(image::RgbaImage::from_pixel(16, 16, image::Rgba([value, 0, 0, 255])));
    let mut gif = GifEncoder::new(fs::File::create(lab.path("moving.gif")).unwrap());
    gif.encode_frames([frame(0), frame(200)]).unwrap();
    drop(gif);
    lab.run_well(&generate(&["--output", "moving.webp", "--steps", "1"]));
    let person = |name, photo, says| case(name, &["--adapter", "adapter", "--reference", photo], says);
    let encode = |name, photo, says| {
        let args =
            ["identity", "encode", "--adapter", "adapter", "--output", "out/id.safetensors", "--reference", photo];
        command(name, &args, says)
    };
    let cases = [
        person("no face", "blank.png", &["no face found in: blank.png", "hint: use a photo"]),
        encode("no face to encode", "blank.png", &["no face found in: blank.png"]),
        person("no photo", "nowhere.jpg", &["cannot read: nowhere.jpg"]),
        encode("no image", "text.png", &["not a JPEG, PNG or WebP image", "hint: "]),
        encode("half an image", "cut.png", &["cut.png"]),
        encode("GIF", "moving.gif", &["a photograph is needed", "GIF", "hint: "]),
        encode("animated WebP", "moving.webp", &["a photograph is needed", "animated WebP", "hint: "]),
        command("no faces file", &["identity", "faces", "text.png", "--json"], &["not a JPEG, PNG or WebP image"]),
        command(
            "no recogniser",
            &["identity", "encode", "--reference", "astronaut.png", "--output", "out/id.safetensors"],
            &["which recogniser", "--recogniser"],
        ),
        case(
            "no such recogniser",
            &["--adapter", "adapter", "--reference", "astronaut.png", "--recogniser", "oracle"],
            &["no recogniser at: oracle", "arcface, curricularface, dlib, mobilefacenet"],
        ),
        case(
            "no such vision encoder",
            &["--adapter", "adapter", "--reference", "astronaut.png", "--vision", "nowhere"],
            &["no vision encoder at: nowhere", "--vision"],
        ),
    ];
    check(&lab, &cases);
}

#[test]
fn a_prompt_that_is_too_long_is_cut_with_a_warning() {
    let lab = Lab::new();
    let prompt = format!("a man img {}", "walking ".repeat(60)) + "talking guitar";
    let identity = ["--adapter", "adapter", "--identity", "person.safetensors", "--prompt", &prompt];
    let ran = lab.run_well(&generate(&[&identity[..], &["--negative-prompt", &"red ".repeat(50)]].concat()));
    assert!(ran.stderr.contains("warning: the prompt is too long"), "{}", ran.stderr);
    assert!(ran.stderr.contains("walking talking guitar\""), "it does not say what is cut: {}", ran.stderr);
    assert!(ran.stderr.contains("warning: the negative prompt is too long"), "{}", ran.stderr);
}

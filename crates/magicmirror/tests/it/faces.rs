//! `identity faces`: which faces a photo shows.

use image::codecs::png::PngEncoder;
use image::imageops::{self, FilterType};
use image::{ExtendedColorType, ImageEncoder, Rgb, RgbImage};
use magicmirror_testkit::golden;
use serde_json::Value;

use crate::lab::Lab;

fn faces(lab: &Lab, photo: &str, options: &[&str]) -> Vec<Value> {
    let ran = lab.run_well(&[&["identity", "faces", photo, "--json"], options].concat());
    serde_json::from_str(&ran.stdout).unwrap()
}

/// Box, landmarks and score of a face, in a row.
fn numbers(face: &Value) -> Vec<f64> {
    let points = face["landmarks"].as_array().unwrap().iter().flat_map(|point| point.as_array().unwrap());
    let numbers = face["box"].as_array().unwrap().iter().chain(points).chain([&face["score"]]);
    numbers.map(|number| number.as_f64().unwrap()).collect()
}

#[test]
fn the_face_in_a_photo_is_where_the_reference_implementation_finds_it() {
    let lab = Lab::new();
    let expected = std::fs::read_to_string(golden("mtcnn_astronaut.json")).unwrap();
    let expected: Vec<Value> = serde_json::from_str(&expected).unwrap();
    let found = faces(&lab, "astronaut.png", &[]);
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        let (found, expected) = (numbers(found), numbers(expected));
        assert_eq!((found.len(), expected.len()), (15, 15));
        for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let allowed = if index == 14 { 1e-4 } else { 0.05 };
            assert!((found - expected).abs() <= allowed, "number {index}: {found}, the reference has {expected}");
        }
    }
    let text = lab.run_well(&["identity", "faces", "astronaut.png"]).stdout;
    assert_eq!(text, "0: 87×110 pixels at (181, 62), score 1.000\n");
}

#[test]
fn a_photo_that_lies_on_its_side_is_read_upright() {
    let lab = Lab::new();
    let upright = imageops::crop_imm(&lab.astronaut(), 100, 0, 260, 240).to_image();
    upright.save(lab.path("upright.png")).unwrap();
    // Orientation 6: turn by 90 degrees clockwise to see it upright.
    let lying = imageops::rotate270(&upright);
    let exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0".to_vec();
    let mut encoder = PngEncoder::new(std::fs::File::create(lab.path("lying.png")).unwrap());
    encoder.set_exif_metadata(exif).unwrap();
    encoder.write_image(&lying, lying.width(), lying.height(), ExtendedColorType::Rgb8).unwrap();
    let expected = faces(&lab, "upright.png", &[]);
    assert_eq!(expected.len(), 1);
    assert_eq!(faces(&lab, "lying.png", &[]), expected);
}

#[test]
fn no_face_is_an_empty_list() {
    let lab = Lab::new();
    RgbImage::from_pixel(64, 64, Rgb([90, 120, 60])).save(lab.path("meadow.png")).unwrap();
    let ran = lab.run_well(&["identity", "faces", "meadow.png", "--json"]);
    assert_eq!(ran.stdout, "[]\n");
    let ran = lab.run_well(&["identity", "faces", "meadow.png"]);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", "no face found in: meadow.png\n"));
}

/// The same person twice, the smaller picture left.
fn twins(lab: &Lab) {
    let portrait = imageops::crop_imm(&lab.astronaut(), 120, 0, 220, 240).to_image();
    let small = imageops::resize(&portrait, 132, 144, FilterType::CatmullRom);
    let mut photo = RgbImage::from_pixel(400, 240, Rgb([128, 128, 128]));
    imageops::replace(&mut photo, &small, 10, 50);
    imageops::replace(&mut photo, &portrait, 170, 0);
    photo.save(lab.path("twins.png")).unwrap();
}

#[test]
fn of_several_faces_the_largest_is_used_unless_another_is_chosen() {
    let lab = Lab::new();
    twins(&lab);
    let found = faces(&lab, "twins.png", &["--min-face", "40"]);
    let left = |face: &Value| face["box"][0].as_f64().unwrap();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(left(&found[0]) > 170.0 && left(&found[1]) < 142.0, "the largest comes first: {found:?}");

    let encode = |output: &str, index: &[&str]| {
        let args = ["identity", "encode", "--reference", "twins.png", "--adapter", "adapter", "--min-face", "40"];
        lab.run(&[&args[..], &["--output", output], index].concat())
    };
    let largest = encode("largest.safetensors", &[]);
    assert_eq!(largest.code, Some(0), "{}", largest.stderr);
    for part in ["warning: 2 faces in twins.png, using the largest", "--face-index", "  0: ", "  1: "] {
        assert!(largest.stderr.contains(part), "{part}: {}", largest.stderr);
    }
    let (first, second) =
        (encode("first.safetensors", &["--face-index", "0"]), encode("second.safetensors", &["--face-index", "1"]));
    assert_eq!((first.code, second.code), (Some(0), Some(0)), "{}{}", first.stderr, second.stderr);
    assert!(!first.stderr.contains("faces in"), "who chose knows: {}", first.stderr);
    assert!(second.stderr.contains("warning: the face in twins.png is only"), "it is small: {}", second.stderr);
    let bytes = |name: &str| std::fs::read(lab.path(name)).unwrap();
    assert!(bytes("largest.safetensors") == bytes("first.safetensors"));
    assert!(bytes("largest.safetensors") != bytes("second.safetensors"));

    let seventh = encode("seventh.safetensors", &["--face-index", "7"]);
    assert_eq!(seventh.code, Some(2));
    for part in ["--face-index 7", "2 faces (0 to 1)", "twins.png", "  0: ", "  1: "] {
        assert!(seventh.stderr.contains(part), "{part}: {}", seventh.stderr);
    }
    assert!(!lab.path("seventh.safetensors").exists());
}

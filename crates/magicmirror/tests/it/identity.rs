//! `identity encode`, and that its file stands for the photos.

use magicmirror_testkit::Values;

use crate::lab::{Lab, generate};

#[test]
fn an_identity_file_is_as_good_as_the_photos_it_was_made_from() {
    let lab = Lab::new();
    image::imageops::flip_horizontal(&lab.astronaut()).save(lab.path("mirrored.png")).unwrap();
    let photos = ["--reference", "astronaut.png", "--reference", "mirrored.png"];
    let encode = ["identity", "encode", "--adapter", "adapter", "--output", "id.safetensors"];
    lab.run_well(&[&encode[..], &photos].concat());
    let features = Values::at(&lab.path("id.safetensors"));
    assert_eq!(features.names(), ["id_embeds", "vision_last", "vision_penultimate"]);
    assert_eq!(features.data("id_embeds").shape().to_vec(), [2, 128]);
    for name in ["vision_last", "vision_penultimate"] {
        assert_eq!(features.data(name).shape().to_vec(), [2, 17, 32], "{name}");
    }
    assert_ne!(features.bytes("vision_last"), features.bytes("vision_penultimate"));

    let with = |source: &[&str], name: &str| {
        let tensors = format!("{name}.safetensors");
        let options = ["--adapter", "adapter", "--tensors", &tensors, "--output", name];
        lab.run_well(&generate(&[&options[..], source].concat()));
        std::fs::read(lab.path(&tensors)).unwrap()
    };
    let from_photos = with(&photos, "photos");
    assert!(from_photos == with(&["--identity", "id.safetensors"], "file"));
    assert!(from_photos != with(&photos[..2], "photo"));
}

#[test]
fn the_whole_photo_can_be_shown_to_the_vision_encoder() {
    let lab = Lab::new();
    let encode = |output: &str, more: &[&str]| {
        let args = ["identity", "encode", "--reference", "astronaut.png", "--output", output];
        lab.run_well(&[&args[..], more].concat());
        Values::at(&lab.path(output))
    };
    let cropped = encode("cropped.safetensors", &["--adapter", "adapter"]);
    let named = encode("named.safetensors", &["--recogniser", "dlib", "--vision", "adapter/vision"]);
    let whole = encode("whole.safetensors", &["--adapter", "adapter", "--no-crop"]);
    for name in cropped.names() {
        assert_eq!(cropped.bytes(&name), named.bytes(&name), "{name}");
    }
    assert_eq!(cropped.bytes("id_embeds"), whole.bytes("id_embeds"));
    assert_ne!(cropped.bytes("vision_last"), whole.bytes("vision_last"));
}

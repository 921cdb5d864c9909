//! What the face metrics are called, and what they are.

use super::super::metric::{Better, Column};

/// The paper's numbers, and what they are compared with.
pub(super) const HEADLINES: [&str; 6] =
    ["face_found", "dlib_cosine", "dlib_cosine_strangers", "dlib_decay", "fm_ref", "fm_inter"];

/// What is measured of each video with these recognisers.
pub(in crate::evaluate) fn columns(recognisers: &[&'static str]) -> Vec<Column> {
    use Better::Higher;
    let mut columns = vec![
        Column::new("face_found", Higher, "Share of the sampled frames in which the detector (MTCNN) finds a face."),
        Column::new("face_in_every_frame", Higher, "Success: whether every sampled frame shows a face."),
    ];
    columns.extend(recognisers.iter().flat_map(|name| columns_of(name)));
    for (name, better, definition) in [
        (
            "fm_ref",
            Higher,
            "FM_ref: landmarks minus the box's corner, divided by its sides; length of all ten differences to the photo's; mean over sampled frames and photos. Landmarks of MTCNN; the paper's are RetinaFace's.",
        ),
        ("fm_ref_points", Higher, "Other reading of FM_ref: mean of the five points' distances."),
        (
            "fm_inter",
            Higher,
            "FM_inter: landmarks in the frame divided by the first face's diagonal; the largest length of all ten differences between two sampled frames that follow each other.",
        ),
        ("fm_inter_points", Higher, "Other reading of FM_inter: mean of the five points' distances."),
        ("fm_inter_any", Higher, "Other reading of FM_inter: the largest between any two sampled frames."),
    ] {
        columns.push(Column::new(name, better, definition));
    }
    for column in &mut columns {
        column.headline = HEADLINES.contains(&column.name.as_ref());
    }
    columns
}

/// What one recogniser measures of each video.
pub(in crate::evaluate) fn columns_of(recogniser: &str) -> Vec<Column> {
    use Better::{Higher, Lower, Neither};
    let mut columns = Vec::new();
    let mut add = |suffix: &str, better, definition: &str| {
        columns.push(Column::new(format!("{recogniser}_{suffix}"), better, definition.replace("NAME", recogniser)));
    };
    add(
        "cosine",
        Higher,
        "Average ID similarity: cosine between NAME's vector of a frame's largest face and the mean of the identity's photos' vectors; mean over sampled frames with a face. The paper's is that of dlib.",
    );
    add(
        "cosine_strangers",
        Neither,
        "The same with the photos of every other identity, and the mean over these: what a wrong person gets.",
    );
    add(
        "gap",
        Higher,
        "NAME_cosine minus NAME_cosine_strangers: how much more the own person than others; 0 for a video without a face.",
    );
    add("cosine_each", Higher, "Other reading: the cosine to each photo of the identity, averaged.");
    add(
        "cosine_all_frames",
        Higher,
        "As NAME_cosine, but a sampled frame without a face counts as 0: no video is left out.",
    );
    add(
        "decay",
        Lower,
        "Similarity decay: how much NAME_cosine falls from the first frame to the last, by the straight line that fits best over the sampled frames.",
    );
    add(
        "decay_ends",
        Lower,
        "Other reading of similarity decay: the first sampled frame's cosine minus the last one's, of those with a face.",
    );
    match recogniser {
        "dlib" => {
            add(
                "distance",
                Lower,
                "Euclidean distance between dlib's descriptor of a frame's face and the mean of the identity's; mean over sampled frames with a face.",
            );
            add("distance_strangers", Neither, "The same with every other identity.");
            add(
                "distance_each",
                Lower,
                "Other reading: the distance to each photo (face_recognition's face_distance), averaged.",
            );
            add(
                "same_person",
                Higher,
                "Success: whether the mean of dlib_distance_each is within 0.6, the threshold of dlib and face_recognition; without a face it is not.",
            );
        }
        "arcface" => columns.push(facesim("facesim_arc", "FaceSim-Arc")),
        "curricularface" => columns.push(facesim("facesim_cur", "FaceSim-Cur")),
        _ => {}
    }
    columns
}

fn facesim(column: &'static str, name: &str) -> Column {
    Column::new(
        column,
        Better::Higher,
        format!(
            "{name} of ConsisID: cosine to each photo, below 0 taken as 0, over those of 16 frames spread evenly (of those sampled) that show a face; 0 without any. Faces are found by MTCNN, not by buffalo_l's detector."
        ),
    )
}

/// What is measured of all videos of a model together.
pub(in crate::evaluate) fn set_columns(recognisers: &[&'static str]) -> Vec<Column> {
    let of = |name: &&'static str| {
        [
            Column::new(
                format!("{name}_retrieval_top1"),
                Better::Higher,
                format!(
                    "Share of the videos whose highest {name}_cosine, among all identities, is to their own; a video without a face counts as a miss."
                ),
            ),
            Column::new(
                format!("{name}_roc_auc"),
                Better::Higher,
                format!(
                    "How often the {name}_cosine of a video to its own identity is larger than that of a video to another one (area under the ROC curve; 0.5 is chance). Videos without a face have none."
                ),
            ),
        ]
    };
    recognisers.iter().flat_map(of).collect()
}

/// Where the weights of a recogniser can be had.
pub(in crate::evaluate) fn origin_of(recogniser: &str) -> &'static str {
    match recogniser {
        "arcface" => {
            "InsightFace's buffalo_l (w600k_r50.onnx) or antelopev2 (glintr100.onnx), for research only; or give a file with --recogniser"
        }
        "curricularface" => {
            "the folder face_encoder of https://huggingface.co/BestWishYsh/ConsisID-preview; or give a file with --recogniser"
        }
        _ => {
            "the constants of MobileFaceNet.tflite (sirius-ai/MobileFaceNet_TF) as safetensors; or give a file with --recogniser"
        }
    }
}

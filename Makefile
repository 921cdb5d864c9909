# All that CI does. Everything is built in the release profile, so that Burn is built once.
.PHONY: check format lint test docs

check: format lint test docs

format:
	cargo fmt --all --check

lint:
	cargo clippy --release --workspace --all-targets --locked -- -D warnings

test:
	cargo test --release --workspace --locked

docs:
	RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps --document-private-items --locked

"""What every room uses: files, hashes, checksums, names, events, action classes."""

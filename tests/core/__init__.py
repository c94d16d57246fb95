"""The pure core: tokens, keys, the policy and verification."""

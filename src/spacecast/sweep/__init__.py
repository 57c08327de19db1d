"""Many runs: a folder, its submission, what became of it, its report."""

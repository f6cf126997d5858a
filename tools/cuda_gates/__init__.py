"""What the compiler says about the CUDA kernels without a GPU: budgets, instructions, occupancy."""

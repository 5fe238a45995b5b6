"""The C++ library of the CPU kernels: its sources, how it is compiled and how it is loaded."""

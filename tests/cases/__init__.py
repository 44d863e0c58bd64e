"""Cases of every operator as data: read by the tests of the operators, of the kernels and by the timer."""

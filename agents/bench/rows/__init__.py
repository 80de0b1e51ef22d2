"""The measurements, one file for each thing that is set up to be measured."""

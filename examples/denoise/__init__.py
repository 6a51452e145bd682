"""Takes the noise out of speech, live, frame by frame.

The way of the data: ``denoiser`` makes spectra of the sound, has the model take the noise out of each and
adds up what is left; ``scores`` compares the sound with the clean one; ``picture`` draws before and after.
"""

"""The sub-commands of ``lowlat-seg``, a file each: what is asked, what is called, what is printed."""

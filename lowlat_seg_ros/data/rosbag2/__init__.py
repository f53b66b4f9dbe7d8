"""What is inside a rosbag2 bag: its folder, its storage files (MCAP, SQLite), its messages. `data.bags` is the way in.

rosbags supplies the messages' types and their (de)serialization, and writes bags. Its readers are not used: version
0.11.9 refuses an MCAP file without its end, gives up at the first damaged chunk or page, and decompresses whatever a
file claims until the memory is full. Many a drive's bag was cut by a power switch, so the storage files are read here:
message by message through an index, within bounds, and past what is damaged.
"""

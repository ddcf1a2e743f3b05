"""How much one file may ask of us. No setting: each figure follows from the memory of a small worker."""

MIB = 1 << 20

# One row of a file, as bytes. The longest chats are some hundred kilobytes; a row is held in memory several times over.
MAX_ROW_BYTES = 8 * MIB

# One message or completion, as characters. A person is to read it; 2 M characters are a shelf of books.
MAX_TEXT = 2_000_000

# Levels of nesting in one row. Chat messages need three; json itself gives up near a thousand.
MAX_DEPTH = 32

# Keys of one row, or columns of a table. Sets for people to judge have ten; what has thousands is a matrix of features.
MAX_COLUMNS = 200

# Completions of one item: nobody ranks more than a screenful.
MAX_COMPLETIONS = 64

# Messages of one prompt.
MAX_MESSAGES = 1000

# Characters of what is kept beside an item (the keys that we do not know), as JSON.
MAX_METADATA = 100_000

# Rows in one transaction, and their bytes: short enough that others never wait long, long enough to be quick.
BATCH_ROWS = 1000
BATCH_BYTES = 16 * MIB

# Rows of one request to the API.
API_ROWS = 1000

# How much more than its size a packed file may hold. Text packs 3 to 20 times; a bomb 1,000 times. Small ones pass.
MAX_PACK_RATIO = 200
PACK_RATIO_FROM = 64 * MIB

# The uncompressed bytes of one row group of a Parquet file, which its footer states. Writers make 128 MB.
MAX_ROW_GROUP = 1024 * MIB
# Rows that are unpacked from Parquet at a time: a dictionary can make every one of them as long as a row may be.
PARQUET_ROWS = 32

# The first bytes of a file, by which its kind is told.
HEAD_BYTES = 64 * 1024

# Named problems that are kept of one import. More are counted: whoever has so many has one cause, not ten thousand.
MAX_PROBLEMS = 10_000

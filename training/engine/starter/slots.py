"""What fills the open slots of the starter grammar: names, things, places, and small tables that link them."""

NAMES = ("Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Hugo", "Ida", "Jonas")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
RELATIVES = ("mother", "father", "sister", "brother", "aunt", "uncle")

# The first ingredient decides the dish.
DISHES = {
    "rice": "a pan of fried rice",
    "eggs": "an omelette",
    "pasta": "a simple pasta dish",
    "potatoes": "a potato pan",
    "bread": "warm toast",
    "lentils": "a thick soup",
    "noodles": "a noodle soup",
}
EXTRAS = ("spinach", "mushrooms", "cheese", "tomatoes", "carrots", "beans", "peas", "onions")
SPICES = ("salt and pepper", "a little garlic", "fresh parsley", "some lemon", "a pinch of curry", "dried herbs")

GIFTS = {
    "gardening": ("a pair of good gloves", "a rose bush", "a book about herbs"),
    "cooking": ("a sharp knife", "a box of spices", "a cookbook"),
    "reading": ("a novel", "a small lamp", "a card for the book shop"),
    "music": ("two concert tickets", "good headphones", "an old record"),
    "hiking": ("warm socks", "a map of the hills", "a light bottle"),
    "painting": ("a set of brushes", "a box of colours", "a visit to a museum"),
    "cycling": ("a bright lamp", "a good lock", "a rain jacket"),
    "tea": ("a pretty pot", "a box of green tea", "a jar of honey"),
}
PACKING = {
    "the mountains": ("warm socks", "a rain jacket", "good boots", "a map", "some bread"),
    "the beach": ("a towel", "sun cream", "a hat", "a book", "plenty of water"),
    "the city": ("light shoes", "a small bag", "a camera", "an umbrella", "a charger"),
    "the forest": ("long trousers", "a knife", "a torch", "strong shoes", "a bottle of water"),
    "the lake": ("a swimsuit", "a towel", "sandals", "a blanket", "some fruit"),
    "the north": ("a thick coat", "gloves", "a wool hat", "warm boots", "a thermos"),
}
TRANSPORT = {
    "train": ("calm", "you can read on the way"),
    "bus": ("cheap", "it stops close by"),
    "bicycle": ("healthy", "you are free to stop anywhere"),
    "car": ("handy", "you can carry a lot"),
    "tram": ("quick", "it comes every ten minutes"),
}
DESTINATIONS = ("museum", "station", "market", "zoo", "theatre", "hospital", "airport")
LISTS = {
    "fruits": ("apples", "pears", "plums", "cherries", "grapes", "lemons", "peaches"),
    "vegetables": ("carrots", "leeks", "beans", "peas", "onions", "cabbages", "beets"),
    "animals": ("foxes", "bears", "hares", "wolves", "otters", "owls", "deer"),
    "birds": ("robins", "swallows", "herons", "gulls", "eagles", "geese", "sparrows"),
    "trees": ("oaks", "birches", "pines", "maples", "willows", "beeches", "elms"),
    "flowers": ("roses", "tulips", "daisies", "poppies", "lilies", "violets", "asters"),
    "instruments": ("violins", "flutes", "drums", "guitars", "trumpets", "harps", "pianos"),
    "sports": ("running", "swimming", "tennis", "rowing", "football", "skiing", "judo"),
}
HEROES = ("fox", "mouse", "bear", "hare", "crow", "cat", "goat", "owl")
TREASURES = ("lantern", "key", "bell", "map", "coin", "mirror", "whistle", "button")
SCENES = ("forest", "village", "garden", "valley", "harbour", "barn")
EVENTS = {
    "concert": ("The band played for two hours", "many people danced"),
    "market": ("There were cheese, bread and flowers", "a baker gave out free cake"),
    "race": ("Forty people ran around the lake", "the youngest was nine years old"),
    "play": ("The children had made the costumes", "everybody laughed at the talking tree"),
    "picnic": ("Every guest brought a dish", "the cake was gone first"),
    "fair": ("There was a big wheel and a small train", "the music went on until late"),
}
VENUES = ("in the park", "at the school", "by the river", "in the old hall")
WEATHER = ("It was sunny", "It rained a little", "It was windy", "It was a cold day", "It was very warm")
REASONS = {
    "be late": "my train is delayed",
    "stay at home": "I have a cold",
    "leave early": "I must see the dentist",
    "miss the meeting": "I am on a trip",
    "bring a cake": "it is my birthday",
    "need help with the boxes": "I am moving house",
    "make some noise": "we have a small party",
    "return the ladder": "I am done with the roof",
}
# What nobody should get help with, and what to offer instead.
REFUSALS = {
    "break into a car": "If it is your own car, a locksmith can open it.",
    "copy my classmate's exam": "I can help you make a plan for learning.",
    "scare my neighbour's dog": "I can help you write a friendly note to your neighbour.",
    "read my sister's diary": "If you worry about her, ask her how she is.",
    "steal a bicycle": "Many towns lend bicycles for little money.",
    "make my colleague look stupid": "If something went wrong between you, a calm talk may help.",
    "send a mean letter": "I can help you say what hurt you in a fair way.",
    "get a prescription without a doctor": "A doctor or a pharmacy can tell you what is safe.",
    "get into a concert without paying": "Some halls have cheap tickets on the last day.",
    "lie to my boss": "It is often easier to say honestly what happened.",
}

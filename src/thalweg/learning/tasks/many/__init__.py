"""Small networks by the thousand: order parameters, slowing down, finite sizes."""
